"""Weights files of every supported format, told apart by content, read without running anything, written atomically."""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import replacing
from paddle_hrfamily.weights import safe_unpickler, torch_files
from paddle_hrfamily.weights.safe_unpickler import Refused
from paddle_hrfamily.weights.tensors import CONSTRUCTORS, decode, from_bfloat16, rebuild, resolve

PADDING_KEY = "padding@@"  # our entries beside the tensors; Paddle marks its own such entries with @@ as well
CORNERS_KEY = "align_corners@@"
SUFFIXES = (".pdparams", ".safetensors")  # what `save` writes

_BIG_PARAMETERS = "UnpackBigParamInfor@@"
_NESTS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params")
_MAGIC_PICKLE = b"\x80"
_SAFETENSORS_DTYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "b1",
}  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """The tensors of a file by their own names; the padding and corner handling that they need, if it states them."""

    arrays: dict[str, np.ndarray]
    padding: str | None = None
    align_corners: bool | None = None


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a weights file by name, bfloat16 as float32. Nothing in the file is run.

    Formats: Paddle `.pdparams`/`.pdopt`, PyTorch `.pth` (zip and legacy), safetensors, whatever the file is called.
    Of a training checkpoint it is the network's state, found under `state_dict`, `model` and the like. Arrays may be
    read-only.

    Raises:
        UserError: no such file; not a weights file, or not a whole one; a pickle that asks for more than tensors need.
    """
    return open_weights(path).arrays


def read_object(path: str | os.PathLike[str]) -> Any:
    """All that a checkpoint holds, arrays for tensors: an optimizer's state, Paddle's name table. As safe as `read`."""
    return _read(Path(path))


def open_weights(path: str | os.PathLike[str]) -> Contents:
    """`read`, with what our own files state beside the tensors."""
    return _contents(_read(Path(path)), path)


def contents_of(tensors: Mapping[str, Any]) -> Contents:
    """The same of tensors in memory (arrays or Paddle's), such as a network's state or what `read` returned."""
    return _contents(
        {key: as_array(value) if hasattr(value, "shape") else value for key, value in tensors.items()},
        "the given mapping",
    )


def _contents(tree: Any, path: str | os.PathLike[str]) -> Contents:
    stated = tree if isinstance(tree, dict) else {}
    padding, corners = stated.get(PADDING_KEY), stated.get(CORNERS_KEY)
    return Contents(
        _state_dict(tree, path),
        padding if isinstance(padding, str) else None,
        corners if isinstance(corners, bool) else None,
    )


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no weights file {path}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: copy or download it again")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            return _parse(path, file, stream)
    except Refused as reason:
        raise UserError(
            f"refused to read {path}: {reason}. Weights files hold nothing but tensors, numbers and plain containers; "
            "do not open this one with another program unless you trust who made it"
        ) from None
    except UserError:
        raise
    except Exception as error:  # a damaged file can fail in any way that the parsers know
        what = str(error) or type(error).__name__
        raise UserError(f"{path} is no weights file, or is damaged: {what}; copy or download it again") from error


def _parse(path: Path, file: IO[bytes], stream: mmap.mmap) -> Any:
    head = stream[:9]
    # The length of safetensors' header comes first, whose low byte may look like the start of a pickle.
    if head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < len(stream):
        return _parse_safetensors(path, stream)
    if head.startswith(b"PK\x03\x04"):
        return torch_files.read_zip(file)
    if head.startswith(_MAGIC_PICKLE):
        reader = cast("IO[bytes]", stream)  # a mapping reads like a file
        tree = safe_unpickler.load(reader, CONSTRUCTORS)
        if tree == torch_files.LEGACY_MAGIC:
            stream.seek(0)
            return torch_files.read_legacy(reader)
        return _parse_paddle(resolve(tree))
    if head.startswith(b"\x1f\x8b"):
        raise ValueError("a compressed archive; unpack it and name the file inside")
    raise ValueError("neither Paddle's, PyTorch's nor the safetensors format")


def _parse_paddle(tree: Any) -> Any:
    tree = rebuild(tree, _plain_tensor)
    if isinstance(tree, dict):
        for key, info in tree.pop(_BIG_PARAMETERS, {}).items():
            tree[key] = np.concatenate([tree.pop(part) for part in info["slices"]]).reshape(info["OriginShape"])
    return tree


def _plain_tensor(node: Any) -> Any:
    """Paddle's tensor as an array: it writes (name, array), and bfloat16, for which numpy has no type, as uint16."""
    if isinstance(node, tuple) and len(node) == 2 and isinstance(node[0], str) and isinstance(node[1], np.ndarray):
        return node[1]
    if isinstance(node, np.ndarray) and node.dtype == np.uint16:
        return from_bfloat16(node)
    return node


def _parse_safetensors(path: Path, stream: mmap.mmap) -> dict[str, Any]:
    safetensors = _safetensors(path)
    tree: dict[str, Any] = {}
    for name, tensor in safetensors.deserialize(stream[:]):
        if tensor["dtype"] not in _SAFETENSORS_DTYPES:
            raise ValueError(f"tensor {name} is of type {tensor['dtype']}")
        tree[name] = decode(tensor["data"], _SAFETENSORS_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    with safetensors.safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata() or {}
    if "padding" in metadata:
        tree[PADDING_KEY] = metadata["padding"]
    if "align_corners" in metadata:
        tree[CORNERS_KEY] = metadata["align_corners"] == "true"
    return tree


def _safetensors(path: Path) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise UserError(f"{path} needs the safetensors library: pip install 'paddle_hrfamily[hub]'") from error
    return safetensors


def _state_dict(tree: Any, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, which may keep them one or more levels down."""
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds a {type(tree).__name__} instead of named tensors")
    for name in _NESTS:
        if isinstance(tree.get(name), dict):
            return _state_dict(tree[name], path)
    arrays = {key: value for key, value in tree.items() if isinstance(key, str) and isinstance(value, np.ndarray)}
    if not arrays:
        raise UserError(f"{path} holds no tensors; its entries are {', '.join(map(str, list(tree)[:8])) or 'none'}")
    return arrays


def save(
    state: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    padding: str | None = None,
    align_corners: bool | None = None,
) -> None:
    """Write tensors (arrays or Paddle's) by name, as `.pdparams` or `.safetensors` by suffix; whole or not at all.

    Args:
        padding: "symmetric" or "same" if the weights are right in a network built that way alone; `load_weights` checks
            it. Paddle ignores the entry.
        align_corners: the same for the corner handling of a whole network's resizes.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    path = Path(path)
    arrays = {name: np.asarray(as_array(value), order="C") for name, value in state.items()}
    if path.suffix not in SUFFIXES:
        raise UserError(f"cannot tell the format of {path}: name it {' or '.join('*' + s for s in SUFFIXES)}")
    with replacing(path, durable=True) as draft, draft.open("wb") as file:
        if path.suffix == ".safetensors":
            corners = None if align_corners is None else str(align_corners).lower()
            metadata = _stated({"padding": padding, "align_corners": corners})
            file.write(_safetensors(path).numpy.save(arrays, metadata=metadata))
        else:
            stated = _stated({PADDING_KEY: padding, CORNERS_KEY: align_corners})
            pickle.dump({**arrays, **stated}, file, protocol=4)


def _stated(facts: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in facts.items() if value is not None}


def as_array(value: Any) -> np.ndarray:
    """An array, or Paddle's tensor as one (bfloat16 as float32)."""
    if not isinstance(value, np.ndarray):
        value = (value.astype("float32") if "bfloat16" in str(value.dtype) else value).numpy()
    return value
