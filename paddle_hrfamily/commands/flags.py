"""Flags that several commands have, and what is read from them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle_hrfamily.errors import UserError

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")
_AVERAGED = ("scales", "flip_horizontal", "flip_vertical")
_WINDOW = ("is_slide", "crop_size", "stride")


def add_config(parser: argparse.ArgumentParser, *, required: bool = False) -> argparse._ArgumentGroup:
    """--config and what changes it: a group, to which a command may add."""
    group = parser.add_argument_group("config")
    text = "the YAML file: a path, or the name of one of this package's"
    group.add_argument("--config", required=required, help=text)
    add_changes(group)
    return group


def add_changes(group: argparse._ArgumentGroup) -> None:
    """--opts and --plugin, of every command that reads configs."""
    group.add_argument("--opts", nargs="+", metavar="KEY=VALUE", help="change values of the config, as key.sub=value")
    add_plugin(group)


def add_plugin(group: argparse._ActionsContainer) -> None:
    """--plugin, of every command that uses components."""
    group.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE|MODULE",
        help="Python file or module with components of your own; repeatable",
    )


def add_weights(group: argparse._ArgumentGroup, *, required: bool = False) -> None:
    """--model_path."""
    text = "trained weights: a file, a checkpoint folder, a URL, hf-hub:REPO or a published name (see hrfamily weights)"
    group.add_argument("--model_path", required=required, help=text)


def add_device(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """--device: a group, to which a command may add."""
    group = parser.add_argument_group("hardware")
    group.add_argument("--device", default="gpu", choices=DEVICES, help="where to compute; gpu falls back to cpu")
    return group


def add_num_workers(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--num_workers", type=int, default=0, help="processes that load images (default: %(default)s)")


def add_precision(group: argparse._ArgumentGroup) -> None:
    """--precision and --amp_level, of training and evaluation."""
    group.add_argument("--precision", default="fp32", choices=("fp32", "fp16"), help="fp16: mixed precision")
    group.add_argument("--amp_level", default="O1", choices=("O1", "O2"), help="O2: all but batch norm in fp16")


def add_data_format(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data_format", default="NCHW", help="NHWC for DeepLabV3P (default: %(default)s)")


def add_opacity(group: argparse._ArgumentGroup, default: float) -> None:
    text = "of the colours, 0..1 (default: %(default)s)"
    group.add_argument("--opacity", type=float, default=default, help=text)


def add_inference(parser: argparse.ArgumentParser, averaging: str) -> None:
    """How the network sees an image.

    Args:
        averaging: "aug_eval" or "aug_pred", the flag that turns scales and flips on.
    """
    group = parser.add_argument_group("how the network sees an image")
    group.add_argument("--protocol", metavar="NAME", help="one of the config's protocols, such as single or multi")
    group.add_argument(f"--{averaging}", action="store_true", help="average over --scales and flips")
    group.add_argument(
        "--scales", nargs="+", type=float, default=1.0, help=f"with --{averaging}, as 0.75 1.0 1.25 (default: 1.0)"
    )
    group.add_argument("--flip_horizontal", action="store_true", help=f"with --{averaging}")
    group.add_argument("--flip_vertical", action="store_true", help=f"with --{averaging}")
    group.add_argument("--is_slide", action="store_true", help="move a window of --crop_size over each image")
    for name in ("crop_size", "stride"):
        group.add_argument(f"--{name}", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="with --is_slide")


def inference_settings(config: Mapping[str, object], args: argparse.Namespace, averaging: str) -> dict[str, Any]:
    """A config's test_config, with what the flags of `add_inference` ask for instead.

    Raises:
        UserError: they make no sense.
    """
    from paddle_hrfamily.inference.options import InferenceOptions

    asked: list[str] = []
    if getattr(args, averaging):
        asked += [averaging, *_AVERAGED]
    if args.is_slide:
        asked += _WINDOW
    settings = {**config, **{name: getattr(args, name) for name in asked}}
    InferenceOptions.read(settings)
    return settings


def asked_protocol(args: argparse.Namespace, averaging: str, default: str | None = None) -> str | None:
    """What --protocol names, or the default; None where other flags of `add_inference` say how images are seen.

    Raises:
        UserError: both do.
    """
    others = [flag for flag in (averaging, "is_slide") if getattr(args, flag)]
    if others and args.protocol is not None:
        raise UserError(f"--protocol {args.protocol} says all that --{others[0]} would: give one of them")
    return None if others else args.protocol or default


def register(args: argparse.Namespace) -> None:
    """Make known all that a config may name: this package's components, then those of plug-ins.

    Raises:
        UserError: Paddle is not installed, or a plug-in cannot be loaded.
    """
    from paddle_hrfamily import system

    system.require_paddle()
    from paddle_hrfamily.integration import plugins, registration

    registration.register()
    plugins.load(args.plugin)


def positive(text: str) -> int:
    """argparse type: a whole number from 1 up."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return number


def check_opacity(opacity: float) -> None:
    """Raises UserError unless --opacity is from 0 to 1."""
    if not 0 <= opacity <= 1:
        raise UserError(f"--opacity {opacity} must be a number of 0 (image alone) to 1 (colours alone)")


def check_json(path: str | Path | None) -> None:
    """Raises UserError if --json cannot be written, before work that may take an hour."""
    if path is not None and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        raise UserError(f"--json {path}: name a file in a folder that exists")
