"""Evaluate a trained network: a table of classes, mIoU, accuracy, kappa, and all of it as JSON.

    hrfamily val --config configs/quickstart.yml --model_path output/best_model/model.pdparams --json scores.json
    hrfamily val --config … --model_path … --aug_eval --scales 0.75 1.0 1.25 --flip_horizontal
    hrfamily val --config … --model_path … --is_slide --crop_size 1024 512 --stride 768 384

The same as `python -m paddleseg.val`, with every flag of PaddleSeg's tools/val.py. Sizes are width, then height.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_hrfamily.commands.train import DEVICES
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from paddleseg.cvlibs import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", help="the YAML file: a path, or the name of one of this package's")
    parser.add_argument("--model_path", help="trained weights: a file, or a checkpoint folder")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that load images (default: %(default)s)")
    parser.add_argument("--device", default="gpu", choices=DEVICES, help="where to compute; gpu falls back to cpu")
    parser.add_argument("--aug_eval", action="store_true", help="average over --scales and flips")
    parser.add_argument("--scales", nargs="+", type=float, default=1.0, help="with --aug_eval")
    parser.add_argument("--flip_horizontal", action="store_true", help="with --aug_eval")
    parser.add_argument("--flip_vertical", action="store_true", help="with --aug_eval")
    parser.add_argument("--is_slide", action="store_true", help="move a window of --crop_size over each image")
    parser.add_argument("--crop_size", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="with --is_slide")
    parser.add_argument("--stride", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="with --is_slide")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"), help="fp16: mixed precision")
    parser.add_argument("--amp_level", default="O1", choices=("O1", "O2"), help="O2: all but batch norm in fp16")
    parser.add_argument("--data_format", default="NCHW", help="NHWC for DeepLabV3P (default: %(default)s)")
    parser.add_argument("--auc_roc", type=_yes_or_no, default=False, help="also the area under the ROC curve")
    parser.add_argument("--json", metavar="FILE", help="write every figure, the confusion matrix and the settings")
    parser.add_argument("--opts", nargs="+", help="change values of the config, as key.sub=value")


def run(args: argparse.Namespace) -> None:
    """Load, look at the labels, evaluate with PaddleSeg's own loop, write the JSON."""
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    import paddle
    from paddleseg import core
    from paddleseg.utils import logger, utils

    from paddle_hrfamily.commands.train import look_at_labels, mention_precision
    from paddle_hrfamily.host import registry, settings, trained
    from paddle_hrfamily.host.overlay import accepted
    from paddle_hrfamily.host.resuming import snapshot

    registry.register()
    config = settings.load(args.config, opts=args.opts)
    settings.use_data_format(config, args.data_format)
    inference = _inference(config.test_config, args)
    weights = trained.weights_file(args.model_path)
    _check_json(args.json)

    utils.show_env_info()
    utils.show_cfg_info(config)
    utils.set_device(args.device)
    mention_precision(args.precision)
    if weights is None:
        logger.warning("No --model_path: the network is evaluated as the config initialises it")
    builder, model = trained.network(config, weights)
    dataset = builder.val_dataset
    look_at_labels(dataset)

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
        snapshot.write_json(Path(args.json), content)
        logger.info(f"Everything is in {args.json}")


def _inference(config: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The config's test_config, with what the command line asks for instead."""
    settings = dict(config)
    if args.aug_eval:
        settings |= {name: getattr(args, name) for name in ("aug_eval", "scales", "flip_horizontal", "flip_vertical")}
    if args.is_slide:
        settings |= {name: getattr(args, name) for name in ("is_slide", "crop_size", "stride")}
    if settings.get("is_slide"):
        for name in ("crop_size", "stride"):
            size = settings.get(name)
            if not isinstance(size, (list, tuple)) or len(size) != 2 or min(size) < 1:
                raise UserError(f"--is_slide needs --{name} WIDTH HEIGHT, as --{name} 1024 512; it is {size}")
    return settings


def _check_json(path: str | None) -> None:
    """Before an evaluation that may take an hour."""
    if path is None:
        return
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise UserError(f"--json {path}: name a file in a folder that exists")


def _provenance(
    args: argparse.Namespace, config: Config, inference: dict[str, Any], weights: str | None
) -> dict[str, Any]:
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
