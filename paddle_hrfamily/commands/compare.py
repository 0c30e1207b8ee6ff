"""Draw what several trained networks make of the same labelled images, side by side with the truth.

    hrfamily compare --run output/hrnet --run output/ddrnet
    hrfamily compare --run output/hrnet --run output/ddrnet/iter_500 --pictures 0 50 100 --save networks.png
    hrfamily compare --run output/hrnet --run hrnet_w48_ocr_cityscapes.yml cityscapes

--run is a checkpoint's folder, or a training's with a best_model in it; or a config and weights that hold none, such as
a file, or the name of published ones (`hrfamily weights`). The images are those of the first config's val_dataset, by
their place in its list.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from paddleseg.cvlibs import Config
    from paddleseg.datasets import Dataset

    Images = dict[str, list[np.ndarray]]  # a network's name -> its label maps, one an image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configs")
    group.add_argument(
        "--run",
        nargs="+",
        action="append",
        required=True,
        metavar=("CONFIG", "WEIGHTS"),
        help="weights, or a config and its weights; once for each network",
    )
    flags.add_changes(group)
    group.add_argument(
        "--pictures", nargs="+", type=int, default=[0], metavar="N", help="of the first val_dataset (default: 0)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--save", type=Path, default=Path("comparison.png"), help="default: %(default)s")
    output.add_argument("--width", type=int, help="of a column, to which all images are scaled")
    flags.add_opacity(output, 0.6)
    flags.add_device(parser)


def run(args: argparse.Namespace) -> None:
    """One network after another, each over all images; then the image of them all."""
    flags.register(args)
    from paddleseg.utils import utils

    from hrfamily_deploy.imaging import image_files
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.integration import config_file, held_config
    from paddle_hrfamily.visualization import drawing

    flags.check_opacity(args.opacity)
    if args.width is not None and args.width < 1:
        raise UserError(f"--width {args.width} must be a number of pixels")
    utils.set_device(args.device)
    runs = [_config_and_weights(run) for run in args.run]
    configs = [held_config.load(config, weights, opts=args.opts) for config, weights in runs]
    tables = [class_table(config.dic) for config in configs]
    for run, table in zip(args.run, tables):
        if table.names != tables[0].names:
            raise UserError(f"--run {run[0]}: its classes are others than those of {args.run[0][0]}")
    dataset = config_file.builder(configs[0]).val_dataset
    _check(args.pictures, dataset)
    images = [Path(dataset.file_list[index][0]) for index in args.pictures]
    truths = [dataset[index]["label"][0] for index in args.pictures]
    labels: Images = {}
    for config, (name, weights) in zip(configs, runs):
        labels[_title(name or weights, labels)] = _predict(config, weights, images)
    rows = [
        (image_files.visible(image), truth, {name: maps[i] for name, maps in labels.items()})
        for i, (image, truth) in enumerate(zip(images, truths))
    ]
    image_files.write(args.save, drawing.comparison(rows, tables[0], args.opacity, args.width))
    print(f"drawn into {args.save}: {', '.join(labels)}")


def _predict(config: Config, weights: str, images: Sequence[Path]) -> list[np.ndarray]:
    from paddle_hrfamily.data import reading
    from paddle_hrfamily.inference.options import InferenceOptions
    from paddle_hrfamily.inference.prediction import label_predictor
    from paddle_hrfamily.integration import config_file, model_loading

    builder, model = model_loading.network(config, model_loading.weights_file(weights, config))
    options = InferenceOptions.read(config.test_config)
    predict = label_predictor(model, builder, config_file.in_channels(config), options)
    read = reading.reader(builder.val_transforms)
    return [predict(read(image)) for image in images]


def _check(pictures: Sequence[int], dataset: Dataset) -> None:
    for index in pictures:
        if not 0 <= index < len(dataset):
            raise UserError(f"--pictures {index}: the first config's val_dataset has pictures 0 to {len(dataset) - 1}")


def _config_and_weights(run: Sequence[str]) -> tuple[str | None, str]:
    from paddle_hrfamily.integration import held_config

    if len(run) > 2:
        raise UserError(f"--run {' '.join(run)}: give weights, or a config and its weights")
    if len(run) == 1 and held_config.beside(run[0]) is None:
        raise UserError(f"--run {run[0]}: these weights hold no config; write --run CONFIG {run[0]}")
    return (None, run[0]) if len(run) == 1 else (run[0], run[1])


def _title(source: str, taken: Images) -> str:
    """The name of the config, or of the training's folder, with a number where the same one is compared with itself."""
    path = Path(source).absolute()
    path = path.parent if path.suffix == ".pdparams" else path
    if path.name in ("best_model", "ema_best_model"):
        path = path.parent
    name = path.name if path.is_dir() else path.stem
    name = f"{path.parent.name} {name}" if name.startswith("iter_") else name
    count = sum(title.split(" #")[0] == name for title in taken)
    return f"{name} #{count + 1}" if count else name
