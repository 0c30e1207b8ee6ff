"""Draw what several trained networks make of the same labelled pictures, side by side with the truth.

    hrfamily compare --run hrnet_w18_small_v2_camvid.yml output/hrnet --run ddrnet_23_slim_camvid.yml output/ddrnet
    hrfamily compare --run A.yml a/best_model --run B.yml b/best_model --pictures 0 50 100 --save networks.png

--run is a config and its weights: a file, a checkpoint folder, or a training's folder with a best_model in it. The
pictures are those of the first config's val_dataset, by their place in its list.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.commands.predict import check_opacity
from paddle_hrfamily.commands.train import DEVICES
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from paddleseg.datasets import Dataset

    Pictures = dict[str, list[np.ndarray]]  # a network's name -> its label maps, one a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run", nargs=2, action="append", required=True, metavar=("CONFIG", "WEIGHTS"), help="once for each network"
    )
    parser.add_argument(
        "--pictures", nargs="+", type=int, default=[0], metavar="N", help="of the first val_dataset (default: 0)"
    )
    parser.add_argument("--opacity", type=float, default=0.6, help="of the colours, 0..1 (default: %(default)s)")
    parser.add_argument("--width", type=int, help="of a column, to which larger pictures are reduced")
    parser.add_argument("--save", type=Path, default=Path("comparison.png"), help="default: %(default)s")
    parser.add_argument("--device", default="gpu", choices=DEVICES, help="where to compute; gpu falls back to cpu")
    parser.add_argument("--opts", nargs="+", help="change values of every config, as key.sub=value")


def run(args: argparse.Namespace) -> None:
    """One network after another, each over all pictures; then the picture of them all."""
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    from paddleseg.utils import utils

    from paddle_hrfamily.host import registry, settings
    from paddle_hrfamily.host.classes import class_table
    from paddle_hrfamily.host.pictures import draw, images

    check_opacity(args.opacity)
    if args.width is not None and args.width < 1:
        raise UserError(f"--width {args.width} must be a number of pixels")
    registry.register()
    utils.set_device(args.device)
    configs = [settings.load(config, opts=args.opts) for config, _ in args.run]
    tables = [class_table(config.dic) for config in configs]
    for (name, _), table in zip(args.run, tables):
        if table.names != tables[0].names:
            raise UserError(f"--run {name}: its classes are others than those of {args.run[0][0]}")
    dataset = settings.builder(configs[0]).val_dataset
    _check(args.pictures, dataset)
    frames = [images.read(Path(dataset.file_list[index][0])) for index in args.pictures]
    truths = [dataset[index]["label"][0] for index in args.pictures]
    labels: Pictures = {}
    for config, (name, weights) in zip(configs, args.run):
        labels[_title(name, labels)] = _predict(config, weights, frames)
    rows = [
        (frame, truth, {name: maps[i] for name, maps in labels.items()})
        for i, (frame, truth) in enumerate(zip(frames, truths))
    ]
    images.write(args.save, draw.comparison(rows, tables[0], args.opacity, args.width))
    print(f"drawn into {args.save}: {', '.join(labels)}")


def _predict(config: object, weights: str, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    from paddle_hrfamily.host import settings, trained
    from paddle_hrfamily.host.predicting.inference import InferenceOptions, label_predictor

    best = Path(weights) / "best_model"
    builder, model = trained.network(config, trained.weights_file(str(best) if best.is_dir() else weights))
    options = InferenceOptions.read(config.test_config)
    predict = label_predictor(model, builder, settings.in_channels(config), options)
    return [predict(frame) for frame in frames]


def _check(pictures: Sequence[int], dataset: Dataset) -> None:
    for index in pictures:
        if not 0 <= index < len(dataset):
            raise UserError(f"--pictures {index}: the first config's val_dataset has pictures 0 to {len(dataset) - 1}")


def _title(config: str, taken: Pictures) -> str:
    """The config's name, with a number where the same one is compared with itself."""
    name = Path(config).stem
    count = sum(title.split(" #")[0] == name for title in taken)
    return f"{name} #{count + 1}" if count else name
