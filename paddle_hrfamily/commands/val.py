"""Evaluate a trained network: a table of classes, mIoU, accuracy, kappa, and all of it as JSON.

    hrfamily val --model_path output/best_model --json scores.json
    hrfamily val --model_path … --aug_eval --scales 0.75 1.0 1.25 --flip_horizontal
    hrfamily val --model_path … --is_slide --crop_size 1024 512 --stride 768 384
    hrfamily val --config configs/hrnet_w48_ocr_cityscapes.yml --model_path … --protocol multi --boundary_iou
    hrfamily val --model_path … --report output/report --worst 20 --calibration

The same as `python -m paddleseg.val`, with every flag of PaddleSeg's tools/val.py. Sizes are width, then height. Where
no flag says how the network sees an image, that is the config's protocol `single`, as published, if it has one, else
its test_config. On Cityscapes the scores of categories and of instances (iIoU) are printed too.
Weights that hold no config, such as published ones, need --config.

--report writes a page with the confusion matrix, Boundary IoU and F1, recall by size of component, and the worst images
with labels, prediction and errors; all of it as JSON and CSV, too. --calibration measures whether probabilities
are right, and finds the temperature for `hrfamily export` and `predict`.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    import paddle
    from paddleseg.cvlibs import Config, SegBuilder

    from paddle_hrfamily.data.classes import ClassTable
    from paddle_hrfamily.evaluation.scores import ImageMeasure
    from paddle_hrfamily.evaluation.segmentation import SegmentationReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config = flags.add_config(parser)
    flags.add_weights(config)
    flags.add_data_format(config)
    flags.add_inference(parser, "aug_eval")
    add = parser.add_argument_group("output").add_argument
    add("--json", metavar="FILE", help="write every figure, the confusion matrix and the options")
    add("--report", metavar="DIR", help="write report.html, which needs no other file or host, JSON and CSV")
    add("--worst", type=int, default=12, metavar="N", help="images in the report, by their mIoU (default: %(default)s)")
    add("--boundary_iou", action="store_true", help="also the IoU (arXiv 2103.16562) and the F1 of outlines")
    add("--calibration", action="store_true", help="also the calibration error, and the temperature that mends it")
    add("--levels", action="store_true", help="also what each level of SpecializeFuse predicts (its table 9, figure 3)")
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
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.files import write_json
    from paddle_hrfamily.inference.protocol import SINGLE, Protocol
    from paddle_hrfamily.integration import config_file, model_loading
    from paddle_hrfamily.patching import accepted

    config = flags.read_config(args)
    config_file.use_data_format(config, args.data_format)
    protocol = Protocol.of_config(config.dic, flags.asked_protocol(args, "aug_eval", SINGLE))
    inference = {} if protocol else flags.inference_settings(config.test_config, args, "aug_eval")
    weights = model_loading.weights_file(args.model_path, config)
    flags.check_json(args.json)
    _check_report(args)

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
    measures = _measures(args, dataset, builder, class_table(config.dic))
    scores = core.evaluate(**accepted(core.evaluate, arguments), protocol=protocol, measures=measures)
    content = scores.report.to_json()
    if args.levels:
        from paddle_hrfamily.evaluation import levels

        report = levels.evaluate(model, dataset, protocol=protocol, num_workers=args.num_workers)
        logger.info(f"[EVAL] Levels:\n{report.table()}")
        content.update(report.to_json())
    if paddle.distributed.ParallelEnv().rank:
        return
    seen = protocol.to_json() if protocol else {"protocol": None, **inference}
    content.update(_provenance(args, config, seen, weights))
    if args.json:
        write_json(Path(args.json), content)
        logger.info(f"Everything is in {args.json}")
    if args.report:
        logger.info(f"The report is {_write_report(args, content, scores.report)}")


def _check_report(args: argparse.Namespace) -> None:
    if args.worst < 0:
        raise UserError(f"--worst {args.worst} must be a number of images, 0 for none")
    if args.report and Path(args.report).exists() and not Path(args.report).is_dir():
        raise UserError(f"--report {args.report}: name a folder, which gets report.html and the tables")


def _write_report(args: argparse.Namespace, content: Mapping[str, Any], report: SegmentationReport) -> Path:
    from paddle_hrfamily.evaluation.worst_images import ImageReport
    from paddle_hrfamily.visualization import report as page

    [images] = (further for further in report.further if isinstance(further, ImageReport))
    pictures = {images.names[index]: jpeg for index, jpeg in images.pictures.items()}
    title = f"Evaluation of {args.model_path or args.config}"
    return page.write(Path(args.report), content, title, report.inference, pictures)


def _measures(
    args: argparse.Namespace, dataset: paddle.io.Dataset, builder: SegBuilder, table: ClassTable
) -> list[ImageMeasure]:
    """What is measured beside the pixel counts, of a data set of classes.

    Raises:
        UserError: flags ask for it of another data set.
    """
    from hrfamily_deploy.imaging import bands
    from paddle_hrfamily.data import reading
    from paddle_hrfamily.evaluation import boundaries, calibration, cityscapes, components, protocols, worst_images
    from paddle_hrfamily.evaluation.segmentation import class_names

    if protocols.protocol_of(dataset) is not None:
        for flag in ("boundary_iou", "levels", "report", "calibration"):
            if getattr(args, flag):
                raise UserError(
                    f"--{flag} is about classes, and {type(dataset).__name__} is not judged by classes of pixels"
                )
        return []
    measures: list[ImageMeasure] = []
    if cityscapes.is_cityscapes(dataset):
        measures.append(cityscapes.CityscapesMeasure(dataset))
    names, ignored = class_names(dataset), dataset.ignore_index
    if args.boundary_iou or args.report:
        measures.append(boundaries.BoundaryMeasure(names, ignored))
    if args.calibration:
        measures.append(calibration.CalibrationMeasure(len(dataset), len(names), ignored))
    if args.report:
        read = reading.reader(builder.val_transforms)
        measures.append(components.ComponentMeasure(names, ignored))
        measures.append(worst_images.ImageScores(dataset, table, args.worst, lambda path: bands.visible(read(path))))
    return measures


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
