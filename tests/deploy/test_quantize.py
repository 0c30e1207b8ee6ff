"""To 8 bits: the convolutions run in integers, the labels stay, and what is worse than asked for is not left behind."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from hrfamily_deploy import bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime.backends import openvino_runtime
from hrfamily_deploy.scripts import command_line
from paddle_hrfamily.export import static_graph
from tests.deploy.conftest import NORMALIZE, Describe, Tiny

if not all(importlib.util.find_spec(name) for name in ("openvino", "nncf")):
    pytest.skip("needs openvino and nncf", allow_module_level=True)

import nncf

from hrfamily_deploy.convert import quantization

SIZE = (64, 96)
TOLD = "of pixels have the label that the network itself gives, on 6 images"


class Images(paddle.nn.Layer):
    """(N, H, W, 3) uint8 -> logits."""

    def __init__(self, network: paddle.nn.Layer) -> None:
        super().__init__()
        self.model = Tiny()
        self.model.set_state_dict(network.state_dict())

    def forward(self, picture: paddle.Tensor) -> paddle.Tensor:
        mean, std = (paddle.to_tensor(NORMALIZE[key]) * 255 for key in ("mean", "std"))
        return self.model(((picture.astype("float32") - mean) / std).transpose([0, 3, 1, 2]))[0]


@pytest.fixture(scope="module")
def street(photo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), photo(*SIZE, number))
    return folder


@pytest.fixture
def run(capsys) -> Callable[[Sequence[object]], tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        status = command_line.main("quantize", list(map(str, arguments)))
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def precisions_of_convolutions(folder: Path) -> list[str]:
    """As the compiled graph runs them."""
    compiled = openvino_runtime.core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    return [str(node["runtimePrecision"].value) for node in info if node["layerType"].value == "Convolution"]


@pytest.mark.parametrize("graph", ["argmax", "softmax", "none", "fixed"])
def test_integers_inside_and_the_same_labels(describe: Describe, street, photo, tmp_path: Path, run, graph) -> None:
    folder, target = describe(graph), tmp_path / "new" / "int8"

    status, out, _ = run(folder, street, "--save-dir", target)

    assert status == 0 and TOLD in out and str(target) in out
    assert sorted(file.name for file in target.parent.iterdir()) == ["int8"]
    assert sorted(file.name for file in target.iterdir()) == ["deploy.yaml", "model.bin", "model.xml"]
    assert {"i8", "u8"} & set(precisions_of_convolutions(target))
    before, after = bundle.read(folder), bundle.read(target)
    for name in ("transforms", "input_shape", "output", "class_names", "class_colors"):
        assert getattr(after, name) == getattr(before, name)
    others = [photo(*SIZE, number) for number in (20, 21)]  # not those that gave the ranges
    expected, found = (Predictor(each, "cpu", backend="openvino").predict(others) for each in (folder, target))
    assert len(np.unique(expected)) == 5 and (found == expected).mean() > 0.95


def test_images_of_bytes(describe: Describe, network, street, tmp_path: Path, run) -> None:
    folder = describe("none", input_layout="NHWC", input_dtype="uint8", transforms=[])
    spec = [paddle.static.InputSpec([-1, -1, -1, 3], "uint8", name="x")]
    reader = Images(network)
    reader.eval()
    static_graph.write(reader, spec, folder / "model")
    assert run(folder, street, "--save-dir", tmp_path / "int8")[0] == 0
    assert {"i8", "u8"} & set(precisions_of_convolutions(tmp_path / "int8"))
    made = Predictor(tmp_path / "int8", backend="openvino")
    assert made.prepare(np.zeros((*SIZE, 3), np.uint8)).planes.dtype == np.uint8


def test_images_are_taken_evenly(describe: Describe, street, tmp_path: Path, monkeypatch) -> None:
    seen = []
    prepare = Predictor.prepare
    monkeypatch.setattr(Predictor, "prepare", lambda self, image: seen.append(image.name) or prepare(self, image))
    _, frames = quantization.quantize(describe("none"), street, tmp_path / "int8", frames=3)
    assert frames == 3 and seen == ["0.png", "2.png", "4.png"]


def test_too_few_equal_labels_leave_nothing(describe: Describe, street, tmp_path: Path, monkeypatch, run) -> None:
    folder = describe("none")
    monkeypatch.setattr(nncf, "quantize", lambda graph, *_, **__: openvino_runtime.core().read_model(blank(tmp_path)))
    status, _, err = run(folder, street, "--save-dir", tmp_path / "new" / "int8", "--least", "0.9")
    assert status == 2 and err.count("\n") == 1 and "of pixels keep their label, and --least is 0.9" in err
    assert list((tmp_path / "new").iterdir()) == []


def blank(folder: Path) -> Path:
    """A network of the same kind that has learnt something else."""
    paddle.seed(8)
    model = Tiny()
    model.eval()
    static_graph.save(model, [-1, 3, -1, -1], "none", folder / "blank" / "model")
    return folder / "blank" / "model.pdmodel"


def test_it_is_for_openvino_alone(describe: Describe, street, tmp_path: Path, run) -> None:
    run(describe("none"), street, "--save-dir", tmp_path / "int8")
    with pytest.raises(UserError, match=r"backend paddle: model\.xml is for openvino alone"):
        Predictor(tmp_path / "int8", "cpu")
    assert Predictor(tmp_path / "int8", "cpu", backend="auto").plan().backend == "openvino"
    status, _, err = run(tmp_path / "int8", street, "--save-dir", tmp_path / "again")
    assert status == 2 and "quantised already" in err


def test_what_cannot_be_done_is_one_line(describe: Describe, street, photo, tmp_path: Path, monkeypatch, run) -> None:
    folder = describe("fixed")
    cv2.imwrite(str(tmp_path / "odd.png"), photo(50, 70))
    (tmp_path / "taken").mkdir()
    new = tmp_path / "new"
    cases = {
        "does not exist": (tmp_path / "nowhere", street, "--save-dir", new),
        "nothing.txt does not exist": (folder, tmp_path / "nothing.txt", "--save-dir", new),
        "an image comes to 50x70": (folder, tmp_path / "odd.png", "--save-dir", new),
        "taken is there already": (folder, street, "--save-dir", tmp_path / "taken"),
        "--frames 0": (folder, street, "--save-dir", new, "--frames", 0),
        "--least 1.5": (folder, street, "--save-dir", new, "--least", 1.5),
        "--save-dir": (folder, street),
    }
    for words, arguments in cases.items():
        status, _, err = run(*arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err, err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, err = run(folder, street, "--save-dir", new)
    assert status == 2 and "pip install 'paddle_hrfamily[int8]', or pip install nncf openvino" in err
    assert not new.exists()
