"""Flags that several commands have, and what is read from them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle_hrfamily.errors import UserError

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_AVERAGED = ("scales", "flip_horizontal", "flip_vertical")
_WINDOW = ("is_slide", "crop_size", "stride")


def add_config(parser: argparse.ArgumentParser, *, held: bool = True) -> argparse._ArgumentGroup:
    """--config and what changes it: a group, to which a command may add.

    Args:
        held: weights that hold their own make it needless: see `read_config`.
    """
    group = parser.add_argument_group("config")
    text = "the YAML file: a path, or the name of one of this package's"
    group.add_argument("--config", help=f"{text} (default: what the weights hold)" if held else text)
    add_changes(group)
    return group


def read_config(args: argparse.Namespace) -> Any:
    """The config (PaddleSeg's `Config`) that --config names, else the one that the weights of --model_path hold.

    `args.config` is set to the file that it comes from.

    Raises:
        UserError: there is neither, it cannot be read, or the two contradict each other.
    """
    from paddle_hrfamily.integration import held_config

    config = held_config.load(args.config, args.model_path, opts=args.opts)
    args.config = args.config or str(held_config.beside(args.model_path))
    return config


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


def add_training(parser: argparse.ArgumentParser) -> None:
    """What training may do differently: groups of their own."""
    add = parser.add_argument_group("steps and their end").add_argument
    add("--accumulate", type=positive, default=1, metavar="N", help="batches of one iteration, as one N times as large")
    add("--clip_norm", type=above_zero, metavar="NORM", help="scale gradients to at most this norm, over all weights")
    add("--label_smoothing", type=_share, metavar="E", help="share of the truth that all classes get, as 0.1")
    add("--early_stop", type=positive, metavar="N", help="end after N evaluations without a better score")
    add("--time_budget", type=duration, metavar="TIME", help="end with a checkpoint within 2h, 90m, 1h30m")
    add("--find_lr", type=positive, nargs="?", const=100, metavar="STEPS", help="look for a learning rate, and end")
    add("--loop", choices=("hrfamily", "paddleseg"), default="hrfamily", help="paddleseg: PaddleSeg's own loop")
    add = parser.add_argument_group("parts that are not trained").add_argument
    text = "parts of the network, as backbone or 'backbone.stage*'; their batch norms keep their statistics too"
    add("--freeze", nargs="+", default=[], metavar="PATTERN", help=text)
    add("--freeze_bn", action="store_true", help="all batch norms stay as they are: weights and statistics")


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Where training writes beside --use_vdl, and how much it says."""
    group = parser.add_argument_group("logging")
    names = ("visualdl", "tensorboard", "wandb", "mlflow")
    text = "also write curves and samples there (default: --save_dir/metrics.jsonl alone)"
    group.add_argument("--log", nargs="+", choices=names, default=[], help=text)
    text = "validation images to draw at every evaluation, with --log or --use_vdl (default: %(default)s)"
    group.add_argument("--samples", type=int, default=4, metavar="N", help=text)
    said = group.add_mutually_exclusive_group()
    for name, meaning in (("quiet", "warnings alone"), ("verbose", "also the environment, the config and all tables")):
        said.add_argument(f"--{name}", dest="verbosity", action="store_const", const=name, help=meaning)


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


def above_zero(text: str) -> float:
    """argparse type: a number above 0."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to below 1")
    return number


def duration(text: str) -> float:
    """argparse type: "2h", "1h30m", "90m", "45s", "1d" in seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise argparse.ArgumentTypeError(f"{text} is no time; write it as 2h, 1h30m, 90m or 45s")
    return seconds


def check_opacity(opacity: float) -> None:
    """Raises UserError unless --opacity is from 0 to 1."""
    if not 0 <= opacity <= 1:
        raise UserError(f"--opacity {opacity} must be a number of 0 (image alone) to 1 (colours alone)")


def check_temperature(temperature: float) -> None:
    """Raises UserError unless --temperature is a finite number above 0."""
    if not 0 < temperature < float("inf"):
        raise UserError(f"--temperature {temperature} must be a number above 0, 1 for logits as they are")


def check_json(path: str | Path | None) -> None:
    """Raises UserError if --json cannot be written, before work that may take an hour."""
    if path is not None and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        raise UserError(f"--json {path}: name a file in a folder that exists")
