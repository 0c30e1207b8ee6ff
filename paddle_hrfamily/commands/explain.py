"""Draw where an SPGNet looks for a class: its guided attention, over pictures.

    hrfamily explain --config spgnet_r18_camvid.yml --model_path output/best_model --image_path street.png
    hrfamily explain --config … --model_path … --image_path folder/ --classes car person --save_dir attention

Red is where the attention is greatest in the picture, blue where it is least. A folder for each picture has a file for
each class; beside it, all of them in one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddle_hrfamily.commands.predict import check_opacity
from paddle_hrfamily.commands.train import DEVICES
from paddle_hrfamily.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", help="the YAML file: a path, or the name of one of this package's")
    parser.add_argument("--model_path", help="trained weights: a file, a checkpoint folder, a URL or hf-hub:REPO")
    parser.add_argument("--image_path", help="a picture, a folder, or a text file of paths")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="their names in the config (default: all)")
    parser.add_argument("--save_dir", default="./output/attention", help="default: %(default)s")
    parser.add_argument("--stage", type=int, default=1, help="whose attention (default: the first stage's)")
    parser.add_argument("--channels", type=int, default=15, help="of the mask, for each class (default: %(default)s)")
    parser.add_argument("--opacity", type=float, default=0.6, help="of the colours, 0..1 (default: %(default)s)")
    parser.add_argument("--device", default="gpu", choices=DEVICES, help="where to compute; gpu falls back to cpu")
    parser.add_argument("--opts", nargs="+", help="change values of the config, as key.sub=value")


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked cheaply, load, draw. Returns 1 if pictures had to be left out."""
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    from dataclasses import replace

    from paddleseg.utils import utils

    from paddle_hrfamily.host import registry, settings, trained
    from paddle_hrfamily.host.classes import class_table
    from paddle_hrfamily.host.pictures import images
    from paddle_hrfamily.host.predicting import attention, inference

    registry.register()
    config = settings.load(args.config, opts=args.opts)
    classes = attention.class_numbers(args.classes, class_table(config.dic).names)
    weights = trained.weights_file(args.model_path)
    if weights is None:
        raise UserError("--model_path is missing: there is nothing to see in random weights")
    if args.image_path is None:
        raise UserError("--image_path is missing: a picture, a folder, or a text file of paths")
    check_opacity(args.opacity)
    sources = images.find_sources(Path(args.image_path).expanduser())

    utils.set_device(args.device)
    builder, model = trained.network(config, weights)
    maps = attention.ClassAttention(model, list(classes.values()), stage=args.stage, channels=args.channels)
    # Averages over scales and flips are of probabilities, which these maps are not; a sliding window is fine.
    how = replace(inference.InferenceOptions.read(config.test_config), aug_pred=False)
    attend = inference.map_predictor(maps, builder, settings.in_channels(config), how)
    return attention.draw_pictures(sources, attend, list(classes), Path(args.save_dir), args.opacity)
