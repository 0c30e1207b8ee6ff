"""`hrfamily verify`: what agrees passes, and whatever is wrong with an export or a runtime shows in its row."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from hrfamily_deploy.convert import onnx_export
from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.data.street_renderer import render_street
from paddle_hrfamily.export import verification
from paddle_hrfamily.integration import config_file, registration
from paddle_hrfamily.weights import read, save

CONFIG = "uhrnet_w18_small_camvid.yml"
SMALLER = ("model.backbone.type=HRNet", "model.backbone.variant=W18_Small_V1")


def run(command: str, *arguments: object, opts: tuple[str, ...] = SMALLER) -> int:
    given = ["--config", CONFIG, *map(str, arguments), "--opts", *opts]
    return run_command(command, given, prog=f"hrfamily {command}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index, size in enumerate([(96, 64), (72, 56)]):
        image_files.write(folder / f"{index}.png", render_street(np.random.default_rng(index), size)[0])
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network whose classes are about as likely as each other, with logits of about 1."""
    registration.register()
    paddle.seed(3)
    model = config_file.builder(config_file.load(CONFIG, opts=list(SMALLER))).model
    classify = model.head.classify
    classify.weight.set_value(paddle.randn(classify.weight.shape))
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.randn([1, 3, 64, 96]))[0]
    scale = 1 / logits.std((0, 2, 3)).mean()
    classify.weight.set_value(classify.weight * scale)
    classify.bias.set_value((classify.bias - logits.mean((0, 2, 3))) * scale)
    file = tmp_path_factory.mktemp("weights") / "model.pdparams"
    save({key: value.numpy() for key, value in model.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def exports(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for output in ("argmax", "none"):
        assert run("export", "--model_path", weights, "--save_dir", folder / output, "--output_op", output) == 0
    return {output: folder / output for output in ("argmax", "none")}


@pytest.fixture
def labels(exports: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of what ends in labels, to be spoilt."""
    return Path(shutil.copytree(exports["argmax"], tmp_path / "labels"))


@pytest.fixture
def verified(weights: Path, pictures: Path, tmp_path: Path):
    """The exit status, and rows by runtime and precision."""

    def verify(folder: Path, *arguments: object, precisions: tuple[str, ...] = ("fp32",)) -> tuple[int, dict]:
        file = tmp_path / "verified.json"
        given = ["--model_path", weights, "--folder", folder, "--images", pictures, "--device", "cpu"]
        status = run("verify", *given, "--json", file, "--precisions", *precisions, *arguments)
        content = json.loads(file.read_text())
        assert len(content["pictures"]) == (1 if "--limit" in arguments else 2)
        return status, {(row["backend"], row["precision"]): row for row in content["rows"]}

    return verify


def test_labels_agree_and_so_do_logits(exports, verified, capsys) -> None:
    status, rows = verified(exports["argmax"], precisions=("fp32", "fp16"))
    said = capsys.readouterr().out
    assert status == 0
    assert set(rows) == {(b, p) for b in ("paddle", "onnxruntime", "openvino") for p in ("fp32", "fp16")}
    for backend in ["paddle"] + ["openvino"] * bool(find_spec("openvino")):
        row = rows[backend, "fp32"]
        assert row["format"] == "pdmodel" and row["verdict"] == "agrees" and row["version"] in said
        assert 0.9999 <= row["worst"] <= row["equal"] <= 1
        assert 0 < row["difference"] < 1e-3 < row["greatest"]
    onnx = rows["onnxruntime", "fp32"]
    assert onnx["format"] == "onnx" and onnx["verdict"] == "skipped" and onnx["equal"] is None
    assert rows["paddle", "fp16"]["verdict"] == "skipped"
    for row in (onnx, rows["paddle", "fp16"]):
        assert row["reason"] and row["reason"] in said


def test_a_graph_of_logits_needs_no_twin(exports, verified, monkeypatch) -> None:
    monkeypatch.delattr(verification, "twin_in_logits")
    status, rows = verified(exports["none"], "--limit", 1)
    assert status == 0 and rows["paddle", "fp32"]["difference"] < 1e-3


@pytest.mark.parametrize("output", ["none", "argmax"])
def test_fast_exports(weights: Path, verified, tmp_path: Path, output: str) -> None:
    """Of labels there is no twin in logits: it would be another graph."""
    folder = tmp_path / "fast"
    assert run("export", "--model_path", weights, "--save_dir", folder, "--fast", "--output_op", output) == 0
    status, rows = verified(folder)
    row = rows["paddle", "fp32"]
    assert status == 0 and row["verdict"] == "agrees" and row["worst"] >= 0.9999
    assert row["difference"] is None if output == "argmax" else row["difference"] < 1e-3


@pytest.mark.skipif(
    not all(map(find_spec, ("paddle2onnx", "onnx", "onnxruntime"))), reason="needs paddle2onnx, onnx and onnxruntime"
)
def test_onnx_beside_it(labels: Path, verified, monkeypatch) -> None:
    onnx_export.convert(labels)
    status, rows = verified(labels)
    row = rows["onnxruntime", "fp32"]
    assert status == 0 and row["verdict"] == "agrees" and row["equal"] >= 0.9999 and 0 < row["difference"] < 1e-3
    (labels / "model.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(verification, "twin_in_logits", lambda *arguments: None)
    status, rows = verified(labels)
    assert status == 1 and rows["onnxruntime", "fp32"]["verdict"] == "fails"
    assert "cannot load it" in rows["onnxruntime", "fp32"]["reason"]
    assert rows["paddle", "fp32"]["verdict"] == "agrees" and rows["paddle", "fp32"]["difference"] is None


def test_what_a_description_gets_wrong(labels: Path, verified) -> None:
    """Of the complaints that an export is worse than the network, most come from its preprocessing."""
    file = labels / "deploy.yaml"
    content = yaml.safe_load(file.read_text())
    content["Deploy"]["transforms"] = [{"type": "Normalize", "mean": [0.2, 0.2, 0.2], "std": [0.9, 0.9, 0.9]}]
    file.write_text(yaml.safe_dump(content))
    status, rows = verified(labels)
    row = rows["paddle", "fp32"]
    assert status == 1 and row["verdict"] == "differs" and row["worst"] <= row["equal"] < 0.9999
    assert row["difference"] > 1e-3


def test_weights_of_another_network(exports, verified, weights: Path, tmp_path: Path) -> None:
    state = read(weights)
    state["head.classify.bias"] = state["head.classify.bias"][::-1].copy()
    save(state, tmp_path / "other.pdparams")
    status, rows = verified(exports["none"], "--model_path", tmp_path / "other.pdparams")
    assert status == 1 and rows["paddle", "fp32"]["verdict"] == "differs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folder", "nowhere"], ["nowhere", "does not exist"]),
        (["--images", "nowhere.png"], ["nowhere.png", "does not exist"]),
        (["--limit", "0"], ["--limit 0"]),
        (["--json", "nowhere/x.json"], ["--json nowhere/x.json"]),
        (["--precisions", "fp16"], ["nothing could be compared"]),
    ],
)
def test_what_cannot_be_is_one_line(
    exports, weights: Path, pictures: Path, monkeypatch, tmp_path: Path, capsys, arguments: list, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [
        "--model_path",
        weights,
        "--folder",
        exports["none"],
        "--images",
        pictures,
        "--device",
        "cpu",
        "--limit",
        1,
    ]
    assert run("verify", *given, *arguments) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and "Traceback" not in error


def test_an_image_that_a_fixed_shape_does_not_take(weights: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "fixed"
    shape = ["--input_shape", 1, 3, 64, 64, "--output_op", "none"]
    assert run("export", "--model_path", weights, "--save_dir", folder, *shape) == 0
    assert run("verify", "--model_path", weights, "--folder", folder, "--images", pictures) == 2
    assert "64x96 (height x width) and this graph takes 64x64" in capsys.readouterr().err
