"""Files made to harm, or harmed themselves: refused with one error, and nothing in them is run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights import read, save
from tests import torch_samples

# --- what an attacker would write ---


class Calls:
    """Pickled, it makes an unpickler call `function(*arguments)`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


def touch(marker: Path) -> str:
    return f"touch '{marker}'"


# What to pickle, given a file that it tries to make, and the name that the error should give. Protocol 2 says
# __builtin__ for builtins.
ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "os.system": (lambda marker: Calls(os.system, touch(marker)), r"import \w+\.system"),
    "eval": (lambda marker: Calls(eval, f"open({str(marker)!r}, 'w')"), r"import _*builtins?_*\.eval"),
    "exec": (lambda marker: Calls(exec, f"open({str(marker)!r}, 'w')"), r"import _*builtins?_*\.exec"),
    "open": (lambda marker: Calls(open, str(marker), "w"), r"import \w+\.open"),
    "getattr": (lambda marker: Calls(getattr, "text", "upper"), r"import _*builtins?_*\.getattr"),
    "nested": (lambda marker: OrderedDict(a=[{"b": Calls(os.system, touch(marker))}]), r"import \w+\.system"),
    "argument": (lambda marker: Calls(tuple, [Calls(os.system, touch(marker))]), r"import \w+\.system"),
    "numpy.load": (lambda marker: Calls(np.load, str(marker)), r"import numpy\.load"),
    "objects": (lambda marker: np.array([Calls(os.system, touch(marker))], object), "of type 'O8'"),
}


def paddle_file(path: Path, payload: object, protocol: int) -> None:
    path.write_bytes(pickle.dumps({"w": np.ones(2), "x": payload}, protocol=protocol))


def torch_zip(path: Path, payload: object, protocol: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol=protocol))
        archive.writestr("archive/data/0", bytes(8))


def torch_legacy(path: Path, payload: object, protocol: int) -> None:
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, payload, []]
    path.write_bytes(b"".join(pickle.dumps(part, protocol=protocol) for part in parts))


def torch_legacy_keys(path: Path, payload: object, protocol: int) -> None:
    parts = [0x1950A86A20F9469CFC6C, 1001, {}, {}, payload]
    path.write_bytes(b"".join(pickle.dumps(part, protocol=protocol) for part in parts))


WRITERS = [paddle_file, torch_zip, torch_legacy, torch_legacy_keys]

RUNS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "exec", "pickle.find_class"}
watched: list[str] | None = None


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if watched is not None and event in RUNS and not (event == "exec" and is_import(arguments)):
        watched.append(event)


def is_import(arguments: tuple[object, ...]) -> bool:
    """Modules that are imported late are executed too, from files of the installation."""
    return getattr(arguments[0], "co_name", "") == "<module>" and "<" not in arguments[0].co_filename


sys.addaudithook(hook)


@pytest.fixture
def events() -> Iterator[list[str]]:
    """Everything that the interpreter runs or looks up for a pickle, by its own audit hook."""
    global watched
    watched = []
    yield watched
    watched = None


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused_by_name_and_does_not_run(
    tmp_path: Path, events: list[str], attack: str, writer: Callable[..., None], protocol: int
) -> None:
    marker = tmp_path / "it-ran"
    make, named = ATTACKS[attack]
    path = tmp_path / "model.pth"
    writer(path, make(marker), protocol)
    events.clear()  # what pickling itself did
    with pytest.raises(UserError, match=f"refused to read .*{named}") as error:
        read(path)
    assert str(path) in str(error.value)
    assert not marker.exists()
    assert events == []


def test_the_attack_would_run_elsewhere(tmp_path: Path, events: list[str]) -> None:
    """The payloads and the watching are real: Python's own unpickler falls for them."""
    marker = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(ATTACKS["os.system"][0](marker)))
    assert marker.exists()
    assert "os.system" in events


@pytest.mark.parametrize(
    ("instructions", "says"),
    [
        (b"(S'touch'\nios\nsystem\n.", "import os.system"),  # INST
        (b"cos\nsystem\n(S'touch'\nR.", "import os.system"),
        (b"\x8c\x08builtins\x8c\x0eprint.__call__\x93)R.", "import builtins.print.__call__"),
        (b"ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ"),
        (b"(ccollections\nOrderedDict\no.", "instruction OBJ"),
        (b"\x82\x01.", "instruction EXT1"),
        (b"}}b.", "set the state of a dict"),
        (b"ccollections\nOrderedDict\n}b.", "set the state of a Constructor"),
        (b"])R.", "call a list"),
        (b"cnumpy\nndarray\n(I1000000000000\ntR.", "only mention"),
        (b"cnumpy\ndtype\n(S'O'\ntR.", "type 'O'"),
        (b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", "encodes text as 'rot13'"),
        (b"Pstorage\n.", "instruction PERSID"),
    ],
)
def test_instructions_that_weights_never_need(tmp_path: Path, instructions: bytes, says: str) -> None:
    path = tmp_path / "x.pdparams"
    path.write_bytes(b"\x80\x02" + instructions)
    with pytest.raises(UserError, match=f"refused.*{says}"):
        read(path)


# --- claims that the bytes do not bear out ---


def storage(count: object = 2, kind: bytes = b"FloatStorage", key: bytes = b"0") -> bytes:
    return b"(S'storage'\nctorch\n" + kind + b"\nS'" + key + b"'\nS'cpu'\nI" + str(count).encode() + b"\ntQ"


def tensor(offset: int = 0, shape: str = "I2\n", strides: str = "I1\n", of: bytes = b"") -> bytes:
    numbers = f"I{offset}\n({shape}t({strides}t".encode()
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (of or storage()) + numbers + b"I00\nNtR"


def write_tensor(path: Path, pickled: bytes, entries: dict[str, bytes] | None = None, **options: int) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}S'w'\n" + pickled + b"s.")
        for name, data in (entries or {"0": np.array([3.0, 4.0], "f4").tobytes()}).items():
            archive.writestr(f"a/data/{name}", data)


def test_the_tensor_that_the_next_tests_spoil_is_whole(tmp_path: Path) -> None:
    write_tensor(tmp_path / "x.pth", tensor())
    np.testing.assert_array_equal(read(tmp_path / "x.pth")["w"], np.array([3, 4], "f4"))


@pytest.mark.parametrize(
    "pickled",
    [
        tensor(shape="I3\n"),
        tensor(shape="I1000000000000\n"),
        tensor(shape="I9223372036854775807\nI9223372036854775807\n", strides="I0\nI0\n"),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(shape="I-2\n"),
        tensor(strides="I-1\n"),
        tensor(strides="I4611686018427387904\n"),
        tensor(strides=""),
        tensor(shape="S'2'\n"),
        tensor(of=storage(count=3)),
        tensor(of=storage(count=-1)),
        tensor(of=storage(kind=b"DoubleStorage")),
        tensor(of=storage(key=b"7")),
        tensor(of=storage(key=b"../../etc/passwd")),
        tensor(of=b"N"),
        b"(S'module'\nNtQ",
    ],
)
def test_tensors_reaching_beyond_their_numbers(tmp_path: Path, pickled: bytes) -> None:
    write_tensor(tmp_path / "x.pth", pickled)
    with pytest.raises(UserError, match="no weights file, or is damaged"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize("state", ["I3\nt", "I1000000000000\nt"])
def test_numpy_array_with_a_false_shape(tmp_path: Path, state: str) -> None:
    right = pickle.dumps({"w": np.ones(2, "f4")}, protocol=0)
    assert right.count(b"(I2\nt") == 1
    path = tmp_path / "x.pdparams"
    text = right.replace(b"(I2\nt", b"(" + state.encode())
    path.write_bytes(b"\x80\x02" + text)
    with pytest.raises(UserError, match="damaged"):
        read(path)


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    """A few kilobytes could unpack to gigabytes; torch.save never compresses."""
    write_tensor(tmp_path / "x.pth", tensor(), {"0": bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        read(tmp_path / "x.pth")


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """Many directory entries for the same bytes: small on disk, large once read."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", bytes(1000))
        last = archive.infolist()[-1]
        archive.filelist.extend([last] * 100)
    with pytest.raises(UserError, match="more than the file has"):
        read(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"N\x72\xff\xff\xff\x7f.",  # LONG_BINPUT: an array of two billion notes in Python's own unpickler
        b"\x8e" + struct.pack("<Q", 1 << 40) + b"few.",  # BINBYTES8 of a terabyte
        b"\x8d" + struct.pack("<Q", 1 << 62) + b"few.",
        b"]\x71\x00h\x00a.",  # a list of itself
        b"".join([b"]\x71\x00", *(b"]\x71%c(h%ch%ce" % (i + 1, i, i) for i in range(60)), b"."]),  # 2^60 lists
    ],
    ids=["memo", "bytes", "text", "cycle", "doubling"],
)
def test_small_files_take_little_memory(tmp_path: Path, pickled: bytes) -> None:
    path = tmp_path / "x.pdparams"
    path.write_bytes(b"\x80\x04" + pickled)
    tracemalloc.start()
    with pytest.raises(UserError):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("claimed", [10**15, -1, 3])
def test_legacy_storage_with_a_false_length(tmp_path: Path, claimed: int) -> None:
    data = (torch_samples.FILES / "torch_legacy.pth").read_bytes()
    count = struct.pack("<q", 24)  # of the storage of `float`
    assert data.count(count) == 1
    (tmp_path / "x.pth").write_bytes(data.replace(count, struct.pack("<q", claimed)))
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path / "x.pth")


# --- damage of every kind ---


def small_files() -> dict[str, bytes]:
    state = {"conv.weight": np.arange(6, dtype="f4").reshape(2, 3), "bn._mean": np.zeros(2, "f8")}
    files = {name: (torch_samples.FILES / name).read_bytes() for name in ("torch_zip.pth", "torch_legacy.pth")}
    for protocol in (2, 4):
        files[f"paddle_{protocol}"] = pickle.dumps({**state, "pair": ("name", state["bn._mean"])}, protocol=protocol)
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    file = folder / f"small_{os.getpid()}.safetensors"
    save(state, file)
    files["safetensors"] = file.read_bytes()
    file.unlink()
    return files


SMALL = small_files()


def read_bytes(folder: Path, data: bytes) -> None:
    """Whatever the bytes are: an answer, or the one error."""
    path = folder / "damaged"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        read(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", SMALL)
def test_every_truncation_is_an_error(folder: Path, name: str) -> None:
    data = SMALL[name]
    for length in range(0, len(data), max(1, len(data) // 150)):
        (folder / "cut").write_bytes(data[:length])
        with pytest.raises(UserError):
            read(folder / "cut")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes(folder: Path, data: st.DataObject) -> None:
    global watched
    whole = bytearray(SMALL[data.draw(st.sampled_from(sorted(SMALL)))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        whole[at : at + (len(patch) if data.draw(st.booleans()) else 0)] = patch
    watched = []
    read_bytes(folder, bytes(whole))
    ran, watched = watched, None
    assert ran == []


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04"]), st.binary(max_size=200))
def test_garbage(folder: Path, start: bytes, rest: bytes) -> None:
    read_bytes(folder, start + rest)


def test_swapped_formats_are_told_by_content(tmp_path: Path) -> None:
    """A harmless name changes nothing: content decides how a file is read."""
    path = tmp_path / "model.safetensors"
    stream = io.BytesIO()
    pickle.dump({"x": Calls(os.system, touch(tmp_path / "it-ran"))}, stream)
    path.write_bytes(stream.getvalue())
    with pytest.raises(UserError, match="system"):
        read(path)
    assert not (tmp_path / "it-ran").exists()
