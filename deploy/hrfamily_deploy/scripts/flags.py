"""Flags that several commands have, and what is read from them."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hrfamily_deploy.errors import UserError

if TYPE_CHECKING:
    from hrfamily_deploy.polygons import Polygons
    from hrfamily_deploy.runtime.options import Options

API_KEY = "HRFAMILY_API_KEY"  # environment variable; what is on a command line, all users of a machine can see
FOLDER = "what `hrfamily export` wrote"
ANY_FOLDER = "what `hrfamily export` or PaddleSeg's export wrote"


def add_runtime(parser: argparse.ArgumentParser, threads: str = "of the CPU") -> argparse._ArgumentGroup:
    """Which runtime, on which device, how precisely: a group, to which a command may add what else says how it runs.

    Args:
        threads: what --threads counts.
    """
    from hrfamily_deploy.runtime import planning
    from hrfamily_deploy.runtime.options import DEVICES, PRECISIONS

    group = parser.add_argument_group("how the network is run")
    add = group.add_argument
    add("--device", default="auto", help=f"{DEVICES} (default: %(default)s)")
    add("--backend", default="paddle", help=f"{', '.join(planning.backend_names())} (default: %(default)s)")
    add("--precision", default="fp32", help=f"{', '.join(PRECISIONS)} (default: %(default)s)")
    add("--threads", type=int, help=f"{threads} (default: its physical cores)")
    return group


def add_gpu(parser: argparse.ArgumentParser, sizes: str) -> None:
    """What matters on GPUs.

    Args:
        sizes: what --sizes is for, and its default.
    """
    add = parser.add_argument_group("on GPUs").add_argument
    add("--tensorrt", action="store_true", help="compile for this GPU, once (default: off)")
    add("--sizes", nargs="+", type=size, default=[], metavar="HxW", help=sizes)
    add("--gpu-memory", type=int, default=1024, metavar="MIB", help="to take at once (default: %(default)s)")
    add("--cache", type=Path, help="folder for TensorRT's engines (default: tensorrt/ in the network's folder)")


def options(args: argparse.Namespace, batch: int) -> Options:
    """How the network is to be run, from the flags of `add_runtime` and `add_gpu`.

    Args:
        batch: images at a time.
    """
    from hrfamily_deploy.runtime.options import Options

    return Options(
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        backend=args.backend,
        batch=batch,
        tensorrt=args.tensorrt,
        sizes=args.sizes,
        gpu_memory_mb=args.gpu_memory,
        cache=args.cache,
    )


def size(text: str) -> tuple[int, int]:
    """Height and width, of a flag like 512x1024."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text} must be height and width in pixels, as 512x1024")
    return int(height), int(width)


def add_answers(parser: argparse.ArgumentParser, dash: str = "-") -> None:
    """What is written beside label maps.

    Args:
        dash: "-" or "_", what the command has between the words of a flag.
    """
    from hrfamily_deploy.imaging.confidence import MEASURES
    from hrfamily_deploy.polygons import FORMATS

    add = parser.add_argument_group("confidence").add_argument
    add("--confidence", action="store_true", help="write it, as 16-bit PNG in which 65535 is 1 (default: off)")
    add("--measure", choices=MEASURES, default=MEASURES[0], help="of confidence (default: %(default)s)")
    add(
        "--unsure",
        type=float,
        metavar="THRESHOLD",
        help="pixels of less probability than this, or of more entropy, get the label 255, in white (default: none)",
    )
    add = parser.add_argument_group("polygons").add_argument
    add("--polygons", choices=FORMATS, help="write label maps as such polygons, too (default: none)")
    add(f"--min{dash}area", type=int, default=0, help="pixels; lesser ones join neighbours (default: %(default)s)")
    add("--tolerance", type=float, default=0.0, help="pixels that may be cut off, 0: exact (default: %(default)s)")


def polygons(args: argparse.Namespace) -> Polygons | None:
    """What polygons are to be like, from the flags of `add_answers`, or None.

    Raises:
        UserError: one of these flags makes no sense.
    """
    from hrfamily_deploy.imaging import confidence
    from hrfamily_deploy.polygons import Polygons

    confidence.check(args.unsure)
    wanted = Polygons(args.polygons or "coco", args.min_area, args.tolerance)
    return wanted if args.polygons else None


def check_opacity(args: argparse.Namespace) -> None:
    """Raises UserError unless --opacity is from 0 to 1."""
    if not 0 <= args.opacity <= 1:
        raise UserError(f"--opacity {args.opacity} must be a number of 0 (image alone) to 1 (colours alone)")


def add_api_key(parser: argparse.ArgumentParser, holds: str) -> None:
    parser.add_argument("--api-key-file", type=Path, help=f"file with {holds} (default: {API_KEY}, or none)")


def api_key(args: argparse.Namespace) -> str | None:
    """The key in the file of --api-key-file, else in the environment; None if there is none.

    Raises:
        UserError: the file cannot be read, or does not hold one key.
    """
    file = args.api_key_file
    if file is None:
        return os.environ.get(API_KEY) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--api-key-file {file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if not key or len(key.split()) > 1:
        raise UserError(f"--api-key-file {file}: it must hold one key, of no blanks")
    return key


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Raises UserError unless these are from 1 up, or None."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"{_flag(name)} {value} must be a whole number above 0")


def check_above_zero(args: argparse.Namespace, *names: str) -> None:
    """Raises UserError unless these are finite and above 0, or None."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{_flag(name)} {value} must be a number above 0")


@contextlib.contextmanager
def requires(extra: str, distributions: str) -> Iterator[None]:
    """What is imported within may not be installed: the error says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed: pip install 'paddle_hrfamily[{extra}]', or pip install {distributions}"
        ) from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
