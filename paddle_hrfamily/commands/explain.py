"""Draw where an SPGNet looks for a class: its guided attention, over images.

    hrfamily explain --model_path output/best_model --image_path street.png
    hrfamily explain --model_path … --image_path folder/ --classes car person --save_dir attention

Red is where the attention is greatest in the image, blue where it is least. A folder for each image has a file for
each class; beside it, all of them in one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_weights(flags.add_config(parser))
    add = parser.add_argument_group("what is drawn").add_argument
    add("--image_path", help="an image, a folder, or a text file of paths")
    add("--classes", nargs="+", metavar="NAME", help="their names in the config (default: all)")
    add("--stage", type=int, default=1, help="whose attention (default: the first stage's)")
    add("--channels", type=int, default=15, help="of the mask, for each class (default: %(default)s)")
    output = parser.add_argument_group("output")
    output.add_argument("--save_dir", default="./output/attention", help="default: %(default)s")
    flags.add_opacity(output, 0.6)
    flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked cheaply, load, draw. Returns 1 if images had to be left out."""
    flags.register(args)
    from dataclasses import replace

    from paddleseg.utils import utils

    from hrfamily_deploy.imaging import image_files
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.inference import attention, prediction
    from paddle_hrfamily.inference.options import InferenceOptions
    from paddle_hrfamily.integration import config_file, model_loading

    config = flags.read_config(args)
    classes = attention.class_numbers(args.classes, class_table(config.dic).names)
    weights = model_loading.weights_file(args.model_path, config)
    if weights is None:
        raise UserError("--model_path is missing: there is nothing to see in random weights")
    if args.image_path is None:
        raise UserError("--image_path is missing: an image, a folder, or a text file of paths")
    flags.check_opacity(args.opacity)
    sources = image_files.find(Path(args.image_path).expanduser())

    utils.set_device(args.device)
    builder, model = model_loading.network(config, weights)
    maps = attention.ClassAttention(model, list(classes.values()), stage=args.stage, channels=args.channels)
    # Averages over scales and flips are of probabilities, which these maps are not; a sliding window is fine.
    how = replace(InferenceOptions.read(config.test_config), aug_pred=False)
    attend = prediction.map_predictor(maps, builder, config_file.in_channels(config), how)
    return attention.draw_images(sources, attend, list(classes), Path(args.save_dir), args.opacity)
