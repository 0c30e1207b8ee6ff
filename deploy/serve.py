"""Serve exported networks over HTTP, with a page for the browser at /, and documentation at /docs.

Examples:
    python deploy/serve.py output/exported
    python deploy/serve.py street=output/exported other/exported --backend auto --max-batch 8 --workers 2
    curl -F image=@street.jpg -o labels.png http://127.0.0.1:8000/v1/models/street/segment
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import errors
import exported
import machine
import plan
from errors import UserError
from exported import Exported

if TYPE_CHECKING:
    from serving.worker import Settings

KEY = "HRFAMILY_API_KEY"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WARM_UP_SIZE = (512, 1024)
_MODULES = "fastapi uvicorn python-multipart prometheus-client fastapi-offline"


def parser() -> argparse.ArgumentParser:
    summary, _, examples = __doc__.partition("\n\n")
    made = errors.Parser(
        prog="serve.py", description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("folders", nargs="+", metavar="[NAME=]FOLDER", help="what `hrfamily export` wrote; NAME: else the folder's")
    add("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=int, default=8000, help="0 for any that is free (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes, each with models of its own (default: %(default)s)")
    add_models(made)
    return made


def add_models(made: argparse.ArgumentParser) -> None:
    """What `settings` reads, but for the folders: how networks are run, and what requests may ask of them."""
    made.add_argument(
        "--api-key-file", type=Path, help=f"file with the key that requests must carry (default: {KEY}, or none)"
    )
    _add_predictor(made)
    _add_limits(made)


def _add_predictor(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("how networks are run").add_argument
    add("--device", default="auto", help=f"{plan.DEVICES} (default: %(default)s)")
    add("--backend", default="paddle", help=f"{', '.join(plan.BACKENDS)} (default: %(default)s)")
    add("--precision", default="fp32", help=f"{', '.join(plan.PRECISIONS)} (default: %(default)s)")
    add("--threads", type=int, help="of the processor, for each process (default: its physical cores)")
    add("--max-batch", type=int, default=4, help="pictures of one size at a time, at most (default: %(default)s)")
    add(
        "--max-wait-ms",
        type=float,
        default=10,
        help="that a batch waits for pictures which are being decoded (default: %(default)s)",
    )
    add("--tensorrt", action="store_true", help="compile for this GPU, once (default: off)")
    add(
        "--sizes",
        nargs="+",
        type=_size,
        default=[],
        metavar="HxW",
        help="of pictures, to warm up with, and for TensorRT (default: the graph's, or 512x1024)",
    )
    add("--gpu-memory", type=int, default=1024, metavar="MIB", help="to take at once (default: %(default)s)")
    add("--cache", type=Path, help="folder for TensorRT's engines (default: tensorrt/ in the network's folder)")


def _add_limits(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("limits of each process").add_argument
    add("--max-queue", type=int, default=64, help="pictures in hand for a model (default: %(default)s)")
    add("--max-uploads", type=int, default=64, help="pictures being received (default: %(default)s)")
    add("--max-body-mb", type=float, default=32, help="of a request, in MiB (default: %(default)s)")
    add("--body-seconds", type=float, default=10, help="for a request to arrive (default: %(default)s)")
    add("--max-pixels", type=int, default=1 << 23, help="of a picture, and of a batch (default: %(default)s)")
    add("--max-aspect", type=float, default=32, help="longer side by shorter side (default: %(default)s)")
    add("--timeout", type=float, default=30, help="seconds for an answer (default: %(default)s)")
    add("--drain-seconds", type=float, default=30, help="to finish after SIGTERM (default: %(default)s)")


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    if args.workers < 1:
        raise UserError(f"--workers {args.workers} must be a whole number above 0")
    made = settings(args)
    return load("serving.supervisor", "serve", _MODULES).serve(made, args.host, args.port, args.workers)


def settings(args: argparse.Namespace) -> Settings:
    """What a process of a server is started with.

    Raises:
        UserError: a value that makes no sense, a model that cannot be run like that here, or no library to serve with.
    """
    _check(args)
    folders = named(args.folders)
    options = {
        "device": args.device,
        "precision": args.precision,
        "threads": args.threads,
        "backend": args.backend,
        "batch": args.max_batch,
        "tensorrt": args.tensorrt,
        "sizes": args.sizes,
        "gpu_memory_mb": args.gpu_memory,
        "cache": args.cache,
    }
    models = {name: exported.read(folder) for name, folder in folders.items()}
    here = machine.probe()
    for model in models.values():
        _check_model(model, options, here)
    worker, limits = (load(module, "serve", _MODULES) for module in ("serving.worker", "serving.limits"))
    return worker.Settings(
        folders=folders,
        predictor=options,
        sizes={name: tuple(args.sizes) or (_size_of(model),) for name, model in models.items()},
        limits=limits.Limits(
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
        api_key=_api_key(args.api_key_file, os.environ),
    )


def named(entries: list[str]) -> dict[str, Path]:
    """Folders by the names they have in addresses.

    Raises:
        UserError: a name that would need quoting there, or that two have.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if not equals or Path(entry).exists():
            name, folder = "", entry
        path = Path(folder).expanduser().resolve()
        name = name or (path.parent if path.is_file() else path).name
        if not _NAME.fullmatch(name):
            raise UserError(f"{entry}: {name!r} is no name for an address; give NAME={folder}, of letters and digits")
        if name in found:
            raise UserError(f"{entry}: another model has the name {name}; give NAME={folder}")
        found[name] = path
    return found


def _check_model(model: Exported, options: Mapping[str, Any], here: machine.Machine) -> None:
    """What can be said without loading it; the processes that load it may still find that it is damaged."""
    plan.make(model, plan.Options(**options), here)
    if model.channels not in (1, 3):
        raise UserError(f"{model.folder}: it takes {model.channels} channels, and picture files have 1 or 3")


def _size_of(model: Exported) -> tuple[int, int]:
    """Of a picture that this network surely takes."""
    padded = [entry["target_size"] for entry in model.transforms if entry["type"] == "Padding"]
    if padded:
        width, height = padded[0]
        return height, width
    height, width = (default if fixed == -1 else fixed for fixed, default in zip(model.input_shape[2:], _WARM_UP_SIZE))
    return height, width


def _api_key(file: Path | None, environment: Mapping[str, str]) -> str | None:
    if file is None:
        return environment.get(KEY) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--api-key-file {file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if not key or len(key.split()) > 1:
        raise UserError(f"--api-key-file {file}: it must hold one key, of no blanks")
    return key


def _check(args: argparse.Namespace) -> None:
    for name in ("max_queue", "max_uploads", "max_pixels"):
        if getattr(args, name) < 1:
            raise UserError(f"{_flag(name)} {getattr(args, name)} must be a whole number above 0")
    for name in ("max_body_mb", "body_seconds", "timeout", "drain_seconds"):
        if not 0 < getattr(args, name) < float("inf"):
            raise UserError(f"{_flag(name)} {getattr(args, name)} must be a number above 0")
    if not 0 <= args.max_wait_ms < float("inf"):
        raise UserError(f"--max-wait-ms {args.max_wait_ms} must be a number of 0 or more")
    if not args.max_aspect >= 1:
        raise UserError(f"--max-aspect {args.max_aspect} must be a number of 1 or more")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def load(module: str, extra: str, distributions: str) -> Any:
    """A module of which a library may be missing; the error says what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed: pip install 'paddle_hrfamily[{extra}]', or pip install {distributions}"
        ) from None


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.lower().split("x"))
    return height, width


if __name__ == "__main__":
    sys.exit(errors.run(main))
