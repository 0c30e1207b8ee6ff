"""Predict pictures or a video: overlays with a legend, colour maps, and the raw labels.

    hrfamily predict --config configs/quickstart.yml --model_path output/best_model --image_path street.jpg
    hrfamily predict --config … --model_path … --image_path folder/ --aug_pred --scales 0.75 1 1.25 --flip_horizontal
    hrfamily predict --config … --model_path … --image_path drive.mp4 --is_slide --crop_size 1024 512 --stride 768 384

The same as `python -m paddleseg.predict`, with every flag of PaddleSeg's tools/predict.py. --image_path is a picture, a
folder (with all below it), a text file of paths, or a video. Sizes are width, then height. The exit status is 1 where
some of several pictures could not be read. A network of depth writes 16-bit millimetres and a picture of them instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from paddle_hrfamily.commands.train import DEVICES
from paddle_hrfamily.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", help="the YAML file: a path, or the name of one of this package's")
    parser.add_argument("--model_path", help="trained weights: a file, a checkpoint folder, a URL or hf-hub:REPO")
    parser.add_argument("--image_path", help="a picture, a folder, a text file of paths, or a video")
    parser.add_argument("--save_dir", default="./output/result", help="folder for the results (default: %(default)s)")
    parser.add_argument("--device", default="gpu", choices=DEVICES, help="where to compute; gpu falls back to cpu")
    parser.add_argument("--aug_pred", action="store_true", help="average over --scales and flips")
    parser.add_argument("--scales", nargs="+", type=float, default=1.0, help="with --aug_pred, as 0.75 1.0 1.25")
    parser.add_argument("--flip_horizontal", action="store_true", help="with --aug_pred")
    parser.add_argument("--flip_vertical", action="store_true", help="with --aug_pred")
    parser.add_argument("--is_slide", action="store_true", help="move a window of --crop_size over each picture")
    parser.add_argument("--crop_size", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="with --is_slide")
    parser.add_argument("--stride", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="with --is_slide")
    parser.add_argument("--custom_color", nargs="+", type=int, metavar="N", help="r g b of each class in turn")
    parser.add_argument("--opacity", type=float, default=0.4, help="of the colours in overlays, 0..1 (default: 0.4)")
    parser.add_argument("--no_legend", action="store_true", help="overlays of the picture's size, without a legend")
    parser.add_argument("--opts", nargs="+", help="change values of the config, as key.sub=value")


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked cheaply, load, predict. Returns 1 if pictures had to be left out."""
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    from paddleseg.utils import utils

    from paddle_hrfamily.host import registry, settings, trained
    from paddle_hrfamily.host.classes import class_table
    from paddle_hrfamily.host.pictures import images
    from paddle_hrfamily.host.predicting import depth as depth_prediction
    from paddle_hrfamily.host.predicting import inference, prediction

    registry.register()
    config = settings.load(args.config, opts=args.opts)
    options = _options(config.test_config, args)
    how = inference.InferenceOptions.read(options)
    table = class_table(config.dic).recolored(options.get("custom_color") or ())
    path = _image_path(args.image_path)
    video = path.suffix.lower() in images.VIDEO_SUFFIXES
    sources = images.Video(path) if video else images.find_sources(path)
    weights = trained.weights_file(args.model_path)
    if weights is None and not config.model_cfg.get("pretrained"):
        raise UserError("--model_path is missing: the network would predict with random weights")

    utils.set_device(args.device)
    builder, model = trained.network(config, weights)
    if trained.is_of_depth(model):
        if video:
            raise UserError(f"--image_path {path}: depth is predicted of pictures; take them from the video first")
        predict = inference.depth_predictor(model, builder, settings.in_channels(config), how)
        return depth_prediction.predict_pictures(sources, predict, Path(args.save_dir))
    predict = inference.label_predictor(model, builder, settings.in_channels(config), how)
    drawing = prediction.Drawing(table, args.opacity, legend=not args.no_legend)
    work = prediction.predict_video if video else prediction.predict_pictures
    return work(sources, predict, drawing, Path(args.save_dir))


def _options(config: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The config's test_config, with what the command line asks for instead. `aug_eval` is evaluation's alone."""
    options = dict(config)
    if args.aug_pred:
        options |= {key: getattr(args, key) for key in ("aug_pred", "scales", "flip_horizontal", "flip_vertical")}
    if args.is_slide:
        options |= {key: getattr(args, key) for key in ("is_slide", "crop_size", "stride")}
    if args.custom_color:
        options["custom_color"] = args.custom_color
    check_opacity(args.opacity)
    return options


def check_opacity(opacity: float) -> None:
    """UserError for an --opacity that is none."""
    if not 0 <= opacity <= 1:
        raise UserError(f"--opacity {opacity} must be a number of 0 (image alone) to 1 (colours alone)")


def _image_path(given: str | None) -> Path:
    if given is None:
        raise UserError("--image_path is missing: a picture, a folder, a text file of paths, or a video")
    return Path(given).expanduser()
