"""Reading every format to the same arrays, and writing our own."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights import read, read_object, save
from tests import torch_samples
from tests.parity import Parity


def assert_same(result: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert result.keys() == expected.keys()
    for name, array in expected.items():
        assert (result[name].shape, result[name].dtype) == (array.shape, array.dtype), name
        np.testing.assert_array_equal(result[name], array, err_msg=name)


@pytest.mark.parametrize("file", ["torch_zip.pth", "torch_legacy.pth"])
def test_pytorch_files(file: str) -> None:
    assert_same(read(torch_samples.FILES / file), torch_samples.expected())


def test_read_object_keeps_what_surrounds_the_tensors() -> None:
    checkpoint = read_object(torch_samples.FILES / "torch_zip.pth")
    assert (checkpoint["epoch"], checkpoint["best"], checkpoint["size"]) == (3, 0.75, (1, 2))


def test_big_endian_zip(tmp_path: Path) -> None:
    """The same file as a big-endian machine writes it: numbers swapped, and an entry that says so."""
    swapped = tmp_path / "big.pth"
    original = zipfile.ZipFile(torch_samples.FILES / "torch_zip.pth")
    widths = {"float": 4, "half": 2, "double": 8, "bfloat16": 2, "long": 8}
    expected = {name: torch_samples.expected()[name] for name in widths}
    sizes = {24 * 4: 4, 2 * 2: 2, 8: 8, 3 * 2: 2}  # bytes of the storages above -> bytes of a number
    with zipfile.ZipFile(swapped, "w") as archive:
        for entry in original.namelist():
            data = original.read(entry)
            if "/data/" in entry and len(data) in sizes:
                data = np.frombuffer(data, f"u{sizes[len(data)]}").byteswap().tobytes()
            archive.writestr(entry, b"big" if entry.endswith("byteorder") else data)
    result = read(swapped)
    for name, array in expected.items():
        np.testing.assert_array_equal(result[name], array, err_msg=name)


def test_safetensors_header_that_starts_like_a_pickle(tmp_path: Path) -> None:
    """A header of 128 bytes puts 0x80, a pickle's first byte, at the start of the file."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(128)
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 128) + header + np.float32(3).tobytes())
    assert_same(read(tmp_path / "w.safetensors"), {"w": np.array([3.0], "f4")})


def network() -> paddle.nn.Layer:
    return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_parameters(tmp_path: Path, protocol: int) -> None:
    state = network().state_dict()
    paddle.save(state, str(tmp_path / "model.pdparams"), protocol=protocol)
    assert_same(read(tmp_path / "model.pdparams"), {name: tensor.numpy() for name, tensor in state.items()})


def test_paddle_optimizer(tmp_path: Path) -> None:
    net = network()
    schedule = paddle.optimizer.lr.PolynomialDecay(0.1, 10)
    optimizer = paddle.optimizer.Momentum(schedule, parameters=net.parameters())
    net(paddle.ones([1, 3, 8, 8])).mean().backward()
    optimizer.step()
    paddle.save(optimizer.state_dict(), str(tmp_path / "model.pdopt"))
    assert read_object(tmp_path / "model.pdopt")["LR_Scheduler"] == {"last_epoch": 0, "last_lr": 0.1}
    expected = {k: v.numpy() for k, v in optimizer.state_dict().items() if k != "LR_Scheduler"}
    assert_same(read(tmp_path / "model.pdopt"), expected)


def test_paddle_nested_checkpoint_with_bfloat16(tmp_path: Path) -> None:
    """Outside a plain state dict Paddle writes (name, array), and it has no numpy type for bfloat16."""
    checkpoint = {"iter": 3, "model": {"w": paddle.to_tensor([1.5, -2.0]).astype("bfloat16")}}
    paddle.save(checkpoint, str(tmp_path / "c.pdparams"))
    assert_same(read(tmp_path / "c.pdparams"), {"w": np.array([1.5, -2.0], "f4")})


def test_paddle_big_parameter_in_slices(tmp_path: Path) -> None:
    """As Paddle splits parameters beyond a gigabyte."""
    value = np.arange(10, dtype="f4").reshape(2, 5)
    flat = value.flatten()
    content = {
        "w@@.0": flat[:6],
        "w@@.1": flat[6:],
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 5), "slices": ["w@@.0", "w@@.1"]}},
        "StructuredToParameterName@@": {"w": "conv2d_0.w_0"},
    }
    (tmp_path / "big.pdparams").write_bytes(pickle.dumps(content, protocol=2))
    assert_same(read(tmp_path / "big.pdparams"), {"w": value})


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_names_of_numpy(tmp_path: Path, module: bytes) -> None:
    value = np.arange(6, dtype="f8").reshape(2, 3, order="F")
    data = pickle.dumps({"w": value}, protocol=2)
    present = b"numpy._core.multiarray" if b"numpy._core" in data else b"numpy.core.multiarray"
    (tmp_path / "w.pdparams").write_bytes(data.replace(b"c" + present, b"c" + module))
    assert_same(read(tmp_path / "w.pdparams"), {"w": value})


def test_bfloat16_safetensors(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\x80\x3f\x00\xc0")
    assert_same(read(tmp_path / "w.safetensors"), {"w": np.array([[1.0], [-2.0]], "f4")})


@pytest.mark.parametrize(
    "file",
    ["hrnet_w18_small_v1_cityscapes.pth", "hrnet_w18_small_v1_training.pth.tar", "hrnet_w18_small_v1.safetensors"],
)
def test_real_files_hold_the_fixture(parity: Parity, file: str) -> None:
    expected = parity.state_dict("hrnet_w18_small_v1_seg")
    arrays = read(parity.checkpoint(file))
    plain = {key.replace("model.", "", 1): value for key, value in arrays.items() if not key.startswith("loss.")}
    assert plain.keys() == expected.keys()
    assert all(np.array_equal(plain[key], expected[key]) for key in expected)


numbers = hnp.arrays(
    st.sampled_from(["f4", "f8", "f2", "i4", "i8", "u1", "?"]), hnp.array_shapes(min_dims=0, min_side=0)
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda name: name != "__metadata__")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, numbers, min_size=1, max_size=4), st.sampled_from([".pdparams", ".safetensors"]))
def test_what_is_saved_is_read(tmp_path_factory: pytest.TempPathFactory, state: dict, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"round_trip{suffix}"
    save(state, path)
    assert_same(read(path), state)


def test_paddle_reads_what_is_saved(tmp_path: Path) -> None:
    """The padding written beside the tensors disturbs nobody."""
    net = network()
    path = tmp_path / "model.pdparams"
    save(net.state_dict(), path, padding="same")
    other = network()
    other.set_state_dict(paddle.load(str(path)))
    for name, tensor in other.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), net.state_dict()[name].numpy())


def test_save_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pdparams"
    save({"w": np.ones(3)}, path)

    def fail(obj: object, file: io.BufferedWriter, protocol: int) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pickle, "dump", fail)
    with pytest.raises(KeyboardInterrupt):
        save({"w": np.zeros(3)}, path)
    assert_same(read(path), {"w": np.ones(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["model.pdparams"]


@pytest.mark.parametrize(
    ("path", "says"),
    [("model.bin", r"name it \*\.pdparams or \*\.safetensors"), ("file/model.pdparams", "cannot be written")],
)
def test_save_says_what_is_wrong(tmp_path: Path, path: str, says: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=says):
        save({"w": np.ones(3)}, tmp_path / path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x80", "no weights file"),
        (b"not weights at all, just text", "neither Paddle's, PyTorch's nor"),
        (b"\x1f\x8b\x08\x00", "compressed archive"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"iter": 3}), "holds no tensors; its entries are iter"),
        (pickle.dumps({}), "its entries are none"),
        (b"PK\x03\x04 and then no zip", "no weights file"),
        (struct.pack("<Q", 12) + b"{not a header", "no weights file"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.pdparams"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        read(path)
    assert str(path) in str(error.value)


def test_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"no data\.pkl"):
        read(tmp_path / "x.pth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights file"):
        read(tmp_path / "none.pdparams")
