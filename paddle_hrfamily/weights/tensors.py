"""What the pickles of Paddle, numpy and PyTorch may construct, as descriptions that are checked and then made arrays.

A tensor in a file states its shape, strides and offset, and its bytes lie elsewhere. The unpickler only keeps what is
stated. `resolve` makes numpy arrays of it, once each statement can be checked against the bytes that are really there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from paddle_hrfamily.weights.safe_unpickler import Buildable, Constructor, Refused

BFLOAT16 = "bfloat16"  # numpy has no such type: its bits are the upper half of a float32's
_NUMPY_CODES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
_MAX_DEPTH = 64


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """uint16 bfloat16 bits -> the same values as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def decode(data: bytes, dtype: str) -> np.ndarray:
    """Little-endian `data` as a flat array of a numpy code ("f4") or "bfloat16"; ValueError if it does not divide."""
    if dtype == BFLOAT16:
        return from_bfloat16(np.frombuffer(data, "<u2"))
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))


class Deferred:
    """Something that becomes an array, or holds one, once all is read."""

    def array(self) -> np.ndarray:
        raise NotImplementedError


# --- numpy ---


@dataclass
class _DType(Buildable):
    code: str
    order: Literal["<", ">"] = "<"

    def build(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


def _dtype(code: str, *_: Any) -> _DType:
    if code not in _NUMPY_CODES:
        raise Refused(f"it holds an array of type {code!r}, and weights are numbers")
    return _DType(code)


@dataclass
class _NumpyArray(Deferred, Buildable):
    state: Any = None

    def build(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _DType) or not isinstance(data, (bytes, str)):
            raise Refused("it holds an array of objects, and weights are numbers")
        flat = np.frombuffer(_as_bytes(data), dtype.numpy())
        return flat.reshape(_natural_numbers(shape), order="F" if fortran else "C")


def _as_bytes(data: bytes | str) -> bytes:
    return data.encode("latin1") if isinstance(data, str) else data


def _reconstruct(*_: Any) -> _NumpyArray:
    return _NumpyArray()  # shape and type follow in its state; the ones given here are numpy's dummies


def _scalar(dtype: _DType, data: bytes | str) -> Any:
    return np.frombuffer(_as_bytes(data), dtype.numpy(), count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise Refused(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _tuple(items: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(items)


def _ordered_dict(pairs: Sequence[Sequence[Any]] = ()) -> OrderedDict[Any, Any]:
    if any(not isinstance(key, (str, int)) for key, _ in pairs):
        raise Refused("it has a dictionary key that is neither text nor a number")
    return OrderedDict((key, value) for key, value in pairs)


def _only_a_name(*_: Any) -> None:
    raise Refused("it calls a type that weights files only mention")


# --- PyTorch ---

TORCH_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}


@dataclass
class Storage:
    """A run of numbers that tensors view. `values` arrives when the file's storages are read."""

    dtype: str  # as `decode` takes it
    count: int
    values: np.ndarray | None = None


@dataclass
class StorageView(Storage):
    """Part of another storage, in files from before PyTorch 1.0."""

    base: Storage = field(default_factory=lambda: Storage("f4", 0))
    offset: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= self.offset + self.count <= self.base.count:
            raise ValueError("a storage view reaches beyond its storage")


def storage_dtype(constructor: Any) -> str:
    """The number type of a storage class that the pickle named, as `torch.FloatStorage`."""
    if not isinstance(constructor, Constructor):
        raise ValueError("a storage without a type")
    module, _, name = constructor.name.partition(" ")
    if module != "torch" or name not in TORCH_DTYPES:
        raise ValueError(f"no storage type {name!r}")
    return TORCH_DTYPES[name]


@dataclass
class _TorchTensor(Deferred):
    storage: Storage
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]

    def array(self) -> np.ndarray:
        if not isinstance(self.storage, Storage):
            raise ValueError("a tensor without a storage")
        values = self.storage.base.values if isinstance(self.storage, StorageView) else self.storage.values
        if values is None:
            raise ValueError("a tensor whose storage is not in the file")
        if isinstance(self.storage, StorageView):
            values = values[self.storage.offset : self.storage.offset + self.storage.count]
        return _view(values, self.offset, _natural_numbers(self.shape), _natural_numbers(self.strides))


def _view(values: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A read-only view that stays inside `values`, whatever the file claims."""
    (offset,) = _natural_numbers((offset,))
    if len(shape) != len(strides):
        raise ValueError("a tensor with as many strides as axes was expected")
    if 0 in shape:
        return np.zeros(shape, values.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if last >= len(values):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {len(values)} stored numbers")
    steps = [stride * values.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)


def _natural_numbers(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, (tuple, list)) or any(not isinstance(n, int) or n < 0 for n in numbers):
        raise ValueError(f"sizes must be whole numbers from 0 up, not {numbers!r}")
    return tuple(numbers)


def _rebuild_tensor(storage: Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _TorchTensor:
    return _TorchTensor(storage, offset, shape, strides)


def _rebuild_parameter(data: _TorchTensor, *_: Any) -> _TorchTensor:
    return data


CONSTRUCTORS: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "builtins tuple": _tuple,
    "__builtin__ tuple": _tuple,
    "builtins bytes": _empty_bytes,
    "__builtin__ bytes": _empty_bytes,
    "_codecs encode": _encode,
    "numpy ndarray": _only_a_name,
    "numpy dtype": _dtype,
    "numpy.core.multiarray _reconstruct": _reconstruct,
    "numpy._core.multiarray _reconstruct": _reconstruct,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    "torch Size": _tuple,
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
    **{f"torch {name}": _only_a_name for name in TORCH_DTYPES},
}


def resolve(tree: Any) -> Any:
    """The same containers with every description replaced by its array; ValueError where one does not fit the bytes."""
    return rebuild(tree, _resolved)


def _resolved(node: Any) -> Any:
    if isinstance(node, Deferred):
        return node.array()
    if isinstance(node, (Constructor, Storage, _DType)):
        return None  # a type or a storage that a checkpoint mentions beside its tensors
    return node


def rebuild(tree: Any, replace: Callable[[Any], Any]) -> Any:
    """The same containers with `replace` applied to every node, innermost first; ValueError if one holds itself."""
    done: dict[int, Any] = {}  # a container may be shared many times over: visit it once

    def visit(node: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("containers nested too deeply")
        if id(node) not in done:
            rebuilt = node
            if isinstance(node, dict):
                rebuilt = {key: visit(value, depth + 1) for key, value in node.items()}
            elif isinstance(node, (list, tuple)):
                rebuilt = type(node)(visit(value, depth + 1) for value in node)
            done[id(node)] = replace(rebuilt)
        return done[id(node)]

    return visit(tree, 0)
