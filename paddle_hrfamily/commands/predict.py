"""Predict images or a video: overlays with a legend, colour maps, and the raw labels.

    hrfamily predict --model_path output/best_model --image_path street.jpg
    hrfamily predict --model_path … --image_path folder/ --aug_pred --scales 0.75 1 1.25 --flip_horizontal
    hrfamily predict --model_path … --image_path drive.mp4 --is_slide --crop_size 1024 512 --stride 768 384
    hrfamily predict --model_path … --image_path folder/ --confidence --unsure 0.6 --polygons labelme
    hrfamily predict --model_path … --image_path leftImg8bit/test --server cityscapes --protocol multi

The same as `python -m paddleseg.predict`, with every flag of PaddleSeg's tools/predict.py. --image_path is an image, a
folder (with all below it), a text file of paths, or a video. Sizes are width, then height. The exit status is 1 where
some of several images could not be read. A network of depth writes 16-bit millimetres and an image of them instead.
--server writes what a benchmark's server takes, and nothing else: for Cityscapes label maps of labelIds and their zip.
Weights that hold no config, such as published ones, need --config.

--confidence writes how sure the network is of each pixel, --unsure leaves pixels open, and --polygons writes label maps
for annotation tools: corrected there, they are training data for `hrfamily new`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrfamily_deploy.scripts import flags as deploy_flags
from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_weights(flags.add_config(parser))
    parser.add_argument_group("images").add_argument(
        "--image_path", help="an image, a folder, a text file of paths, or a video"
    )
    flags.add_inference(parser, "aug_pred")
    output = parser.add_argument_group("output")
    output.add_argument("--save_dir", default="./output/result", help="folder for the results (default: %(default)s)")
    output.add_argument("--custom_color", nargs="+", type=int, metavar="N", help="r g b of each class in turn")
    output.add_argument("--server", choices=("cityscapes",), help="write what this benchmark's server takes")
    flags.add_opacity(output, 0.4)
    output.add_argument("--no_legend", action="store_true", help="overlays of the image's size, without a legend")
    deploy_flags.add_answers(parser, "_")
    output.add_argument("--temperature", type=float, default=1.0, help="that divides logits (default: %(default)s)")
    flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked cheaply, load, predict. Returns 1 if images had to be left out."""
    flags.register(args)
    from paddleseg.utils import utils

    from hrfamily_deploy.imaging import image_files
    from hrfamily_deploy.imaging.video import SUFFIXES as VIDEO_SUFFIXES
    from hrfamily_deploy.imaging.video import Video
    from paddle_hrfamily.data import reading
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.inference import cityscapes_server, depth_maps, label_maps, prediction
    from paddle_hrfamily.inference.options import InferenceOptions
    from paddle_hrfamily.inference.protocol import Protocol
    from paddle_hrfamily.integration import config_file, model_loading

    flags.check_opacity(args.opacity)
    flags.check_temperature(args.temperature)
    polygons = deploy_flags.polygons(args)
    config = flags.read_config(args)
    protocol = Protocol.of_config(config.dic, flags.asked_protocol(args, "aug_pred"))
    settings = flags.inference_settings(config.test_config, args, "aug_pred")  # `aug_eval` is evaluation's alone
    how = InferenceOptions.read(settings)
    table = class_table(config.dic).recolored(args.custom_color or settings.get("custom_color") or ())
    path = _image_path(args.image_path)
    source = Video(path) if path.suffix.lower() in VIDEO_SUFFIXES else image_files.find(path)
    if isinstance(source, Video) and (args.confidence or args.polygons):
        raise UserError(f"--image_path {path}: --confidence and --polygons are for images")
    if args.server:
        if isinstance(source, Video):
            raise UserError(f"--image_path {path}: --server takes images")
        if args.confidence or args.polygons or args.unsure is not None:
            raise UserError(f"--server {args.server} writes nothing but its own; leave out what else is asked for")
        cityscapes_server.check(source, len(table))
    weights = model_loading.weights_file(args.model_path, config)
    if weights is None and not config.model_cfg.get("pretrained"):
        raise UserError("--model_path is missing: the network would predict with random weights")

    utils.set_device(args.device)
    builder, model = model_loading.network(config, weights)
    channels, folder = config_file.in_channels(config), Path(args.save_dir)
    if model_loading.is_of_depth(model):
        if args.confidence or args.polygons or args.unsure is not None:
            raise UserError("--confidence, --unsure and --polygons are about classes, and this network predicts depth")
        if isinstance(source, Video) or args.server:
            what = "--server takes classes" if args.server else "take them from the video first"
            raise UserError(f"--image_path {path}: depth is predicted of images; {what}")
        return depth_maps.predict_images(
            source, prediction.depth_predictor(model, builder, channels, how, protocol), folder
        )
    is_asked = args.confidence or args.unsure is not None
    asked = prediction.Confidence(args.measure, args.unsure, args.temperature) if is_asked else None
    predict = prediction.answer_predictor(model, builder, channels, how, protocol, asked)
    style = label_maps.OverlayStyle(table, args.opacity, legend=not args.no_legend, unsure=args.unsure is not None)
    if isinstance(source, Video):
        return label_maps.predict_video(source, predict, style, folder)
    if args.server:
        return cityscapes_server.predict_images(source, lambda image: predict(image)[0], folder)
    read = reading.reader(builder.val_transforms)
    return label_maps.predict_images(
        source, predict, style, folder, read, confidence=args.confidence, polygons=polygons
    )


def _image_path(given: str | None) -> Path:
    if given is None:
        raise UserError("--image_path is missing: an image, a folder, a text file of paths, or a video")
    return Path(given).expanduser()
