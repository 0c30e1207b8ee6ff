"""The flags that `serve` and `ray` share, and the settings that they make."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import flags

if TYPE_CHECKING:
    from hrfamily_deploy.serving.settings import Settings

LIBRARIES = "fastapi uvicorn python-multipart prometheus-client fastapi-offline"


def add(parser: argparse.ArgumentParser, port: str) -> None:
    """Models, address and key, how networks are run, and limits.

    Args:
        port: what there is to say of it.
    """
    argument = parser.add_argument
    argument("folders", nargs="+", metavar="[NAME=]FOLDER", help=f"{flags.FOLDER}; NAME: else the folder's")
    argument("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 for all (default: %(default)s)")
    argument("--port", type=int, default=8000, help=f"{port} (default: %(default)s)")
    flags.add_api_key(parser, "the key that requests must carry")
    _add_runtime(parser)
    _add_limits(parser)


def settings(args: argparse.Namespace) -> Settings:
    """What a process of a server is started with.

    Raises:
        UserError: a value that makes no sense, a model that cannot be run like that here, or no library to serve with.
    """
    from hrfamily_deploy.runtime import hardware
    from hrfamily_deploy.serving.limits import Limits
    from hrfamily_deploy.serving.settings import Settings, named

    _check(args)
    here = hardware.probe()
    made = Settings(
        folders=named(args.folders),
        options=flags.options(args, args.max_batch),
        limits=Limits(
            body=int(args.max_body_mb * (1 << 20)),
            body_seconds=args.body_seconds,
            pixels=args.max_pixels,
            aspect=args.max_aspect,
            queue=args.max_queue,
            uploads=args.max_uploads,
            seconds=args.timeout,
        ),
        batch_seconds=args.max_wait_ms / 1000,
        drain_seconds=args.drain_seconds,
        threads=max(2, here.cores),
        api_key=flags.api_key(args),
    )
    made.check(here)
    return made


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    argument = flags.add_runtime(parser, threads="of the CPU, for each process").add_argument
    argument("--max-batch", type=int, default=4, help="images of one size at a time, at most (default: %(default)s)")
    argument(
        "--max-wait-ms",
        type=float,
        default=10,
        help="that a batch waits for images which are being decoded (default: %(default)s)",
    )
    flags.add_gpu(parser, sizes="of images, to warm up with, and for TensorRT (default: the graph's, or 512x1024)")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    argument = parser.add_argument_group("limits of each process").add_argument
    argument("--max-queue", type=int, default=64, help="images in hand for a model (default: %(default)s)")
    argument("--max-uploads", type=int, default=64, help="images being received (default: %(default)s)")
    argument("--max-body-mb", type=float, default=32, help="of a request, in MiB (default: %(default)s)")
    argument("--body-seconds", type=float, default=10, help="for a request to arrive (default: %(default)s)")
    argument("--max-pixels", type=int, default=1 << 23, help="of an image, and of a batch (default: %(default)s)")
    argument("--max-aspect", type=float, default=32, help="longer side by shorter side (default: %(default)s)")
    argument("--timeout", type=float, default=30, help="seconds for an answer (default: %(default)s)")
    argument("--drain-seconds", type=float, default=30, help="to finish after SIGTERM (default: %(default)s)")


def _check(args: argparse.Namespace) -> None:
    flags.check_counts(args, "max_queue", "max_uploads", "max_pixels")
    flags.check_above_zero(args, "max_body_mb", "body_seconds", "timeout", "drain_seconds")
    if not 0 <= args.max_wait_ms < math.inf:
        raise UserError(f"--max-wait-ms {args.max_wait_ms} must be a number of 0 or more")
    if not args.max_aspect >= 1:
        raise UserError(f"--max-aspect {args.max_aspect} must be a number of 1 or more")
