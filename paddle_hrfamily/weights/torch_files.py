"""PyTorch's two checkpoint containers, read without PyTorch: the zip of 1.6 and later, and the one before it."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from paddle_hrfamily.weights import safe_unpickler
from paddle_hrfamily.weights.tensors import (
    BFLOAT16,
    CONSTRUCTORS,
    Storage,
    StorageView,
    decode,
    from_bfloat16,
    resolve,
    storage_dtype,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_zip(stream: IO[bytes]) -> Any:
    """The object in a zip checkpoint: `NAME/data.pkl`, and one stored entry `NAME/data/KEY` for each storage."""
    with zipfile.ZipFile(stream) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        _check_sizes(archive, stream)
        pickles = [name for name in entries if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip file, but not one that torch.save wrote: it has no data.pkl")
        folder = pickles[0][: -len("data.pkl")]
        order = archive.read(folder + "byteorder").decode() if folder + "byteorder" in entries else "little"
        storages: dict[str, Storage] = {}

        def persistent_load(reference: Any) -> Storage:
            _, constructor, key, _, count = _reference(reference, 5)
            if key not in storages:
                dtype = storage_dtype(constructor)
                values = _decode(archive.read(f"{folder}data/{key}"), dtype, order)
                if not 0 <= count <= len(values):
                    raise ValueError(f"storage {key} claims {count} numbers and holds {len(values)}")
                storages[key] = Storage(dtype, count, values[:count])
            return storages[key]

        with archive.open(pickles[0]) as pickle:
            return resolve(safe_unpickler.load(pickle, CONSTRUCTORS, persistent_load))


def _check_sizes(archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """Refuse what could swell on reading: torch.save stores entries as they are, side by side."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError("its entries are compressed, which torch.save never does")
    claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > stream.seek(0, 2):
        raise ValueError(f"its entries claim {claimed} bytes, more than the file has")


def _decode(data: bytes, dtype: str, order: str) -> np.ndarray:
    if order == "little":
        return decode(data, dtype)
    if dtype == BFLOAT16:
        return from_bfloat16(np.frombuffer(data, ">u2"))
    return np.frombuffer(data, np.dtype(dtype).newbyteorder(">"))


def read_legacy(stream: IO[bytes]) -> Any:
    """The object in a checkpoint from before PyTorch 1.6: four pickles, the storages' keys, then their raw numbers."""
    magic, protocol, _ = (safe_unpickler.load(stream, CONSTRUCTORS) for _ in range(3))
    if magic != LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise ValueError("not a file that torch.save wrote")
    storages: dict[str, Storage] = {}
    tree = safe_unpickler.load(stream, CONSTRUCTORS, _legacy_storages(storages))
    for key in safe_unpickler.load(stream, CONSTRUCTORS):
        storage = storages[key]
        (count,) = struct.unpack("<q", _exactly(stream, 8))
        if count != storage.count:
            raise ValueError(f"storage {key} claims {storage.count} numbers and holds {count}")
        width = 2 if storage.dtype == BFLOAT16 else np.dtype(storage.dtype).itemsize
        storage.values = decode(_exactly(stream, count * width), storage.dtype)
    return resolve(tree)


def _legacy_storages(storages: dict[str, Storage]) -> Callable[[Any], Storage]:
    views: dict[str, Storage] = {}

    def persistent_load(reference: Any) -> Storage:
        _, constructor, key, _, count, view = _reference(reference, 6)
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"storage {key} claims {count!r} numbers")
        storage = storages.setdefault(key, Storage(storage_dtype(constructor), count))
        if view is None:
            return storage
        view_key, offset, size = view
        return views.setdefault(view_key, StorageView(storage.dtype, size, base=storage, offset=offset))

    return persistent_load


def _reference(reference: Any, length: int) -> tuple[Any, ...]:
    if not isinstance(reference, tuple) or len(reference) != length or reference[0] != "storage":
        raise ValueError("it holds more than tensors (a whole pickled model?); save its state_dict() instead")
    return reference


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError("the file ends before its tensors do")
    return data
