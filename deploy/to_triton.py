"""Write a model repository for NVIDIA's Triton inference server from an exported network and its model.onnx.

    python deploy/to_onnx.py output/exported
    python deploy/to_triton.py output/exported repository --name street --instances 2
    python deploy/to_triton.py output/exported repository --name street --device gpu --tensorrt fp16 --sizes 512x1024
    tritonserver --model-repository repository

Writes NAME/config.pbtxt and NAME/1/model.onnx. Triton gets what the graph takes, images after deploy.yaml's transforms,
and gives what the graph ends in; images of one size that arrive together share a batch. The classes' names are in the
configuration, which Triton shows at /v2/models/NAME/config.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import errors
import exported
import pictures
import triton_config
from errors import UserError
from plan import Size

if TYPE_CHECKING:
    from onnx import GraphProto

VERSION = "1"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def main() -> int:
    args = _parser().parse_args()
    options = triton_config.Options(
        max_batch=args.max_batch,
        instances=args.instances,
        device=args.device,
        tensorrt=args.tensorrt,
        cache=args.cache,
        delay_ms=args.delay,
        threads=args.threads,
        sizes=args.sizes,
    )
    folder = write(args.folder, args.repository, args.name, options)
    print((folder / "config.pbtxt").read_text(encoding="utf-8"), end="")
    checked = "follows Triton's schema" if triton_config.schema() else "was not checked: pip install tritonclient[grpc]"
    print(f"{folder} is written; its configuration {checked}")
    return 0


def write(
    folder: str | Path, repository: str | Path, name: str | None = None, options: triton_config.Options | None = None
) -> Path:
    """Write the network into the repository as `name` (that of the folder, if None), over an earlier one.

    Returns:
        The network's folder there.

    Raises:
        UserError: no such network, no ONNX file, a bad name or option, or nothing can be written there.
    """
    network = exported.read(folder)
    name = name or network.folder.resolve().name
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r} must be of letters, digits, points, dashes and underscores")
    if network.onnx is None:
        raise UserError(f"{network.folder} has no ONNX file; run: python deploy/to_onnx.py {network.folder}")
    config = triton_config.make(_graph(network.onnx), name, network.class_names, options or triton_config.Options())
    text = triton_config.as_text(config)
    triton_config.check(text)
    target = Path(repository).expanduser() / name
    with pictures.replacing(target / VERSION / "model.onnx") as draft:
        shutil.copyfile(network.onnx, draft)
    with pictures.replacing(target / "config.pbtxt") as draft:  # the last: it makes a model of the folder
        draft.write_text(text, encoding="utf-8")
    return target


def _parser() -> argparse.ArgumentParser:
    summary, _, examples = __doc__.partition("\n\n")
    made = errors.Parser(
        prog="to_triton.py", description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = triton_config.Options()
    add = made.add_argument
    add("folder", type=Path, help="what `hrfamily export` wrote, with a model.onnx beside it")
    add("repository", type=Path, help="folder of Triton's models")
    add("--name", help="of the model (default: the folder's)")
    add(
        "--max-batch",
        type=int,
        metavar="N",
        help=f"images that share a batch, at most (default: {triton_config.MAX_BATCH}, of a graph with an open batch)",
    )
    add("--delay", type=float, default=default.delay_ms, metavar="MS", help="to wait for others (default: %(default)s)")
    add("--instances", type=int, default=default.instances, help="copies, on each GPU (default: %(default)s)")
    add("--device", default=default.device, help=f"{' or '.join(triton_config.DEVICES)} (default: %(default)s)")
    add("--threads", type=int, default=default.threads, help="of an instance on processors (default: all cores)")
    add("--tensorrt", metavar="PRECISION", help=f"{' or '.join(triton_config.PRECISIONS)}, on GPUs (default: none)")
    add("--cache", metavar="DIR", help="on the server, for TensorRT's engines (default: compiled at each start)")
    add(
        "--sizes",
        nargs="+",
        type=_size,
        default=list(default.sizes),
        metavar="HxW",
        help="to warm up at and to compile for, where the graph leaves them open (default: 512x1024)",
    )
    return made


def _graph(file: Path) -> GraphProto:
    try:
        import onnx
    except ImportError:
        raise UserError("reading model.onnx needs: pip install 'paddle_hrfamily[onnx]', or pip install onnx") from None
    try:
        return onnx.load(file).graph
    except Exception as error:  # protobuf's own
        raise UserError(f"{file}: no ONNX file, or a damaged one ({' '.join(str(error).split())})") from None


def _size(text: str) -> Size:
    height, width = map(int, text.lower().split("x"))
    return height, width


if __name__ == "__main__":
    sys.exit(errors.run(main))
