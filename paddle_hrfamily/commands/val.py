"""Evaluate a trained network: a table of classes, mIoU, accuracy, kappa, and all of it as JSON.

    hrfamily val --config configs/quickstart.yml --model_path output/best_model/model.pdparams --json scores.json
    hrfamily val --config … --model_path … --aug_eval --scales 0.75 1.0 1.25 --flip_horizontal
    hrfamily val --config … --model_path … --is_slide --crop_size 1024 512 --stride 768 384

The same as `python -m paddleseg.val`, with every flag of PaddleSeg's tools/val.py. Sizes are width, then height.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.commands import flags

if TYPE_CHECKING:
    from paddleseg.cvlibs import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config = flags.add_config(parser)
    flags.add_weights(config)
    flags.add_data_format(config)
    flags.add_inference(parser, "aug_eval")
    add = parser.add_argument_group("output").add_argument
    add("--json", metavar="FILE", help="write every figure, the confusion matrix and the options")
    add("--auc_roc", type=_yes_or_no, default=False, help="also the area under the ROC curve")
    hardware = flags.add_device(parser)
    flags.add_num_workers(hardware)
    flags.add_precision(hardware)


def run(args: argparse.Namespace) -> None:
    """Load, look at the labels, evaluate with PaddleSeg's own loop, write the JSON."""
    flags.register(args)
    import paddle
    from paddleseg import core
    from paddleseg.utils import logger, utils

    from paddle_hrfamily.commands import checks
    from paddle_hrfamily.files import write_json
    from paddle_hrfamily.integration import config_file, model_loading
    from paddle_hrfamily.patching import accepted

    config = config_file.load(args.config, opts=args.opts)
    config_file.use_data_format(config, args.data_format)
    inference = flags.inference_settings(config.test_config, args, "aug_eval")
    weights = model_loading.weights_file(args.model_path)
    flags.check_json(args.json)

    utils.show_env_info()
    utils.show_cfg_info(config)
    utils.set_device(args.device)
    checks.mention_precision(args.precision)
    if weights is None:
        logger.warning("No --model_path: the network is evaluated as the config initialises it")
    builder, model = model_loading.network(config, weights)
    dataset = builder.val_dataset
    checks.look_at_labels(dataset)

    arguments = {
        "model": model,
        "eval_dataset": dataset,
        "num_workers": args.num_workers,
        "precision": args.precision,
        "amp_level": args.amp_level,
        "auc_roc": args.auc_roc,
        **inference,
    }
    scores = core.evaluate(**accepted(core.evaluate, arguments))
    if args.json and paddle.distributed.ParallelEnv().rank == 0:
        content = {**scores.report.to_json(), **_provenance(args, config, inference, weights)}
        write_json(Path(args.json), content)
        logger.info(f"Everything is in {args.json}")


def _provenance(
    args: argparse.Namespace, config: Config, inference: Mapping[str, object], weights: str | None
) -> dict[str, object]:
    import paddle
    import paddleseg

    from paddle_hrfamily import __version__

    return {
        "config": str(args.config),
        "options": args.opts or [],
        "weights": {"source": weights, "sha256": _sha256(weights)} if weights else None,
        "inference": {**inference, "precision": args.precision},
        "model": config.dic["model"],
        "val_dataset": config.dic["val_dataset"],
        "versions": {"paddle": paddle.__version__, "paddleseg": paddleseg.__version__, "paddle_hrfamily": __version__},
    }


def _sha256(source: str) -> str:
    from paddle_hrfamily.weights import fetch

    digest = hashlib.sha256()
    with Path(fetch(source)).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() in ("true", "1", "yes")
