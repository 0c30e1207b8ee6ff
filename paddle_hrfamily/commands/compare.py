"""Draw what several trained networks make of the same labelled images, side by side with the truth.

    hrfamily compare --run hrnet_w18_small_v2_camvid.yml output/hrnet --run ddrnet_23_slim_camvid.yml output/ddrnet
    hrfamily compare --run A.yml a/best_model --run B.yml b/best_model --pictures 0 50 100 --save networks.png

--run is a config and its weights: a file, a checkpoint folder, or a training's folder with a best_model in it. The
images are those of the first config's val_dataset, by their place in its list.
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
        "--run", nargs=2, action="append", required=True, metavar=("CONFIG", "WEIGHTS"), help="once for each network"
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
    from paddle_hrfamily.integration import config_file
    from paddle_hrfamily.visualization import drawing

    flags.check_opacity(args.opacity)
    if args.width is not None and args.width < 1:
        raise UserError(f"--width {args.width} must be a number of pixels")
    utils.set_device(args.device)
    configs = [config_file.load(config, opts=args.opts) for config, _ in args.run]
    tables = [class_table(config.dic) for config in configs]
    for (name, _), table in zip(args.run, tables):
        if table.names != tables[0].names:
            raise UserError(f"--run {name}: its classes are others than those of {args.run[0][0]}")
    dataset = config_file.builder(configs[0]).val_dataset
    _check(args.pictures, dataset)
    frames = [image_files.decode(Path(dataset.file_list[index][0])) for index in args.pictures]
    truths = [dataset[index]["label"][0] for index in args.pictures]
    labels: Images = {}
    for config, (name, weights) in zip(configs, args.run):
        labels[_title(name, labels)] = _predict(config, weights, frames)
    rows = [
        (frame, truth, {name: maps[i] for name, maps in labels.items()})
        for i, (frame, truth) in enumerate(zip(frames, truths))
    ]
    image_files.write(args.save, drawing.comparison(rows, tables[0], args.opacity, args.width))
    print(f"drawn into {args.save}: {', '.join(labels)}")


def _predict(config: Config, weights: str, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    from paddle_hrfamily.inference.options import InferenceOptions
    from paddle_hrfamily.inference.prediction import label_predictor
    from paddle_hrfamily.integration import config_file, model_loading

    best = Path(weights) / "best_model"
    builder, model = model_loading.network(config, model_loading.weights_file(str(best) if best.is_dir() else weights))
    options = InferenceOptions.read(config.test_config)
    predict = label_predictor(model, builder, config_file.in_channels(config), options)
    return [predict(frame) for frame in frames]


def _check(pictures: Sequence[int], dataset: Dataset) -> None:
    for index in pictures:
        if not 0 <= index < len(dataset):
            raise UserError(f"--pictures {index}: the first config's val_dataset has pictures 0 to {len(dataset) - 1}")


def _title(config: str, taken: Images) -> str:
    """The config's name, with a number where the same one is compared with itself."""
    name = Path(config).stem
    count = sum(title.split(" #")[0] == name for title in taken)
    return f"{name} #{count + 1}" if count else name
