"""A model repository for NVIDIA's Triton inference server, of an exported network and its model.onnx."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hrfamily_deploy import bundle
from hrfamily_deploy.convert import triton_config
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing

if TYPE_CHECKING:
    from onnx import GraphProto

VERSION = "1"
CONFIG = "config.pbtxt"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def write(
    folder: str | Path, repository: str | Path, name: str | None = None, options: triton_config.Options | None = None
) -> Path:
    """Write the network into the repository as `name` (that of the folder, if None), over an earlier one.

    Returns:
        The network's folder there.

    Raises:
        UserError: no such network, no ONNX file, a bad name or option, or nothing can be written there.
    """
    network = bundle.read(folder)
    name = name or network.folder.resolve().name
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r} must be of letters, digits, points, dashes and underscores")
    if network.onnx is None:
        raise UserError(f"{network.folder} has no ONNX file; run: hrfamily onnx {network.folder}")
    config = triton_config.make(_graph(network.onnx), name, network.class_names, options or triton_config.Options())
    text = triton_config.as_text(config)
    triton_config.check(text)
    target = Path(repository).expanduser() / name
    with replacing(target / VERSION / "model.onnx") as draft:
        shutil.copyfile(network.onnx, draft)
    with replacing(target / CONFIG) as draft:  # the last: it makes a model of the folder
        draft.write_text(text, encoding="utf-8")
    return target


def _graph(file: Path) -> GraphProto:
    try:
        import onnx
    except ImportError:
        raise UserError("reading model.onnx needs: pip install 'paddle_hrfamily[onnx]', or pip install onnx") from None
    try:
        return onnx.load(file).graph
    except Exception as error:  # protobuf's own
        raise UserError(f"{file}: no ONNX file, or a damaged one ({' '.join(str(error).split())})") from None
