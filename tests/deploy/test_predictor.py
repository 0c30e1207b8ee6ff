"""The predictor: the label map of PaddleSeg's evaluation, whatever runs it, from several threads, or one clear line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddleseg.core import infer

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime import hardware
from paddle_hrfamily.__main__ import run_command
from tests import tiny
from tests.deploy.conftest import CLASSES, DEPLOY, NORMALIZE, Describe, Tiny
from tests.deploy.test_preprocess import CHAINS, theirs

pytestmark = pytest.mark.line

LONG = CHAINS["long and pad"]


def evaluated(network: paddle.nn.Layer, chain: list[dict], image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What PaddleSeg's evaluation makes of an image: labels (H, W) and logits (K, H, W)."""
    data = theirs(chain, image)
    with paddle.no_grad():
        label, logits = infer.inference(network, paddle.to_tensor(data["img"][None]), trans_info=data["trans_info"])
    return label.numpy()[0, 0], logits.numpy()[0]


def agree(label: np.ndarray, expected: np.ndarray) -> bool:
    return label.shape == expected.shape and bool((label == expected).mean() >= 0.9999)


@pytest.mark.parametrize(
    ("graph", "chain"),
    [("argmax", [NORMALIZE]), ("none", [NORMALIZE]), ("softmax", [NORMALIZE]), ("none", LONG), ("softmax", LONG)],
)
def test_labels_are_those_of_evaluation(network, describe: Describe, photo, graph: str, chain: list[dict]) -> None:
    image = photo(90, 121)
    label = Predictor(describe(graph, transforms=chain), device="cpu").predict(image)
    expected, _ = evaluated(network, chain, image)
    assert label.dtype == np.uint8 and label.shape == (1, 90, 121)
    assert agree(label[0], expected) and len(np.unique(expected)) >= 4


@pytest.mark.parametrize("chain", [[NORMALIZE], LONG])
def test_logits_and_probabilities(network, describe: Describe, photo, chain: list[dict]) -> None:
    image = photo(70, 50)
    predictor = Predictor(describe("none", transforms=chain), device="cpu")
    _, logits = evaluated(network, chain, image)
    ours = predictor.predict(image, output="logits")
    assert ours.shape == (1, len(CLASSES), 70, 50)
    np.testing.assert_allclose(ours[0], logits, atol=1e-3)
    probabilities = predictor.predict(image, output="probabilities")[0]
    np.testing.assert_allclose(probabilities, paddle.nn.functional.softmax(paddle.to_tensor(logits), 0), atol=1e-3)


def test_labels_of_a_resized_graph_with_argmax_are_the_nearest(network, describe: Describe, photo) -> None:
    chain = CHAINS["resize"]
    image = photo(90, 121)
    predictor = Predictor(describe("argmax", transforms=chain), device="cpu")
    assert "nearest" in " ".join(predictor.plan().notes)
    small = theirs(chain, image)
    with paddle.no_grad():
        label = infer.inference(network, paddle.to_tensor(small["img"][None])).argmax(axis=1, keepdim=True)
    expected = infer.reverse_transform(label.astype("int32"), small["trans_info"]).numpy()[0, 0]
    assert agree(predictor.predict(image)[0], expected)


def test_paths_bytes_and_arrays_are_one(describe: Describe, photo, tmp_path: Path) -> None:
    image, file = photo(40, 60), tmp_path / "image.png"
    cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    predictor = Predictor(describe(), device="cpu", batch=3)
    labels = predictor.predict([image, file, file.read_bytes(), str(file)])
    assert labels.shape == (4, 40, 60) and (labels == labels[0]).all()


def test_batches_of_several_sizes_come_in_order(describe: Describe, photo) -> None:
    images = [photo(*size, number) for number, size in enumerate([(40, 60)] * 3 + [(60, 40)] * 2 + [(40, 60)])]
    predictor = Predictor(describe(), device="cpu", batch=2)
    answers = list(predictor.predict_each(images))
    for image, answer in zip(images, answers):
        assert agree(answer, predictor.predict(image)[0])
    with pytest.raises(UserError, match="predict_each"):
        predictor.predict(images)


def test_a_graph_of_fixed_shape_is_filled_up(describe: Describe, photo) -> None:
    images = [photo(64, 96, number) for number in range(3)]
    fixed = Predictor(describe("fixed"), device="cpu")
    assert fixed.plan().batch == 2
    assert (fixed.predict(images) == Predictor(describe(), device="cpu").predict(images)).mean() >= 0.9999
    with pytest.raises(UserError, match="60x96.*64x96"):
        fixed.predict(photo(60, 96))
    with pytest.raises(UserError, match="batch 3"):
        Predictor(fixed.bundle.folder, device="cpu", batch=3)


def test_four_threads_with_a_clone_each(describe: Describe, photo) -> None:
    images = [photo(48, 64, number) for number in range(12)]
    first = Predictor(describe(), device="cpu", threads=1)
    expected = [first.predict(image)[0] for image in images]
    clones = [first.clone() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda clone: [clone.predict(image)[0] for _ in range(3) for image in images], clones))
    for labels in found:
        assert all((label == expected[index % 12]).all() for index, label in enumerate(labels))


def test_four_threads_share_one_by_turns(describe: Describe, photo) -> None:
    images = [photo(32 + 16 * (number % 3), 64, number) for number in range(12)]
    predictor = Predictor(describe(), device="cpu", threads=1)
    expected = [predictor.predict(image)[0] for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: predictor.predict(image)[0], images * 3))
    assert all((label == expected[index % 12]).all() for index, label in enumerate(found))


def test_bf16_agrees_where_there_is_bf16(describe: Describe, photo) -> None:
    if not hardware.probe().has_bf16:
        pytest.skip("this CPU has no bf16")
    folder, image = describe(), photo(64, 96)
    predictor = Predictor(folder, device="cpu", precision="bf16")
    predictor.warm_up(64, 96)
    assert (predictor.predict(image) == Predictor(folder, device="cpu").predict(image)).mean() > 0.97


@pytest.mark.skipif(paddle.__version__ < "3", reason="Paddle 2 writes .pdmodel alone")
def test_a_program_as_paddle_3_writes_it(network, describe: Describe, photo) -> None:
    folder, image = describe("none"), photo(48, 64)
    (folder / "model.pdmodel").unlink()
    twin = Tiny()
    twin.set_state_dict(network.state_dict())
    twin.eval()
    paddle.jit.save(twin, str(folder / "model"), [paddle.static.InputSpec([-1, 3, -1, -1], "float32", name="x")])
    predictor = Predictor(folder, device="cpu")
    assert predictor.plan().model.name == "model.json"
    assert predictor.plan().settings.onednn is not paddle.__version__.startswith("3.3.")
    assert agree(predictor.predict(image)[0], evaluated(network, [NORMALIZE], image)[0])


def test_openvino_gives_the_same_map(describe: Describe, photo) -> None:
    pytest.importorskip("openvino")
    folder, images = describe(), [photo(48, 64, number) for number in range(3)]
    expected = Predictor(folder, device="cpu").predict(images)
    openvino = Predictor(folder, backend="openvino", batch=2)
    assert agree(openvino.predict(images), expected) and agree(openvino.clone().predict(images), expected)


def test_signals_are_handled_after_openvino_predictors_have_come_and_gone(describe: Describe) -> None:
    pytest.importorskip("openvino")
    code = (
        "import signal, sys, threading\nfrom hrfamily_deploy import Predictor\n"
        "def load(): return Predictor(sys.argv[1], backend='openvino')\n"
        "loaded = [load(), load()]\ndel loaded[0], loaded[0]\n"
        "loaded = [load()]\nlast = threading.Thread(target=loaded.clear)\nlast.start()\nlast.join()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\nsignal.raise_signal(signal.SIGUSR1)\n"
    )
    command = [sys.executable, "-c", code, describe()]
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("graph", ["argmax", "none"])
def test_onnxruntime_gives_the_same_map(describe: Describe, photo, graph: str) -> None:
    pytest.importorskip("onnxruntime")
    paddle2onnx = pytest.importorskip("paddle2onnx")
    folder, images = describe(graph), [photo(48, 64, number) for number in range(3)]
    model, params = str(folder / "model.pdmodel"), str(folder / "model.pdiparams")
    # The optimiser that its 2.x has as default lets pip install what it misses, there and then.
    unchanged = {"optimize_tool": "None"} if paddle.__version__ >= "3" else {}
    paddle2onnx.export(model, params, str(folder / "model.onnx"), opset_version=13, **unchanged)
    expected = Predictor(folder, device="cpu").predict(images)
    onnx = Predictor(folder, backend="onnxruntime", batch=2)
    assert agree(onnx.predict(images), expected) and agree(onnx.clone().predict(images), expected)


@pytest.mark.parametrize(
    ("graph", "output", "op"),
    [("argmax", "logits", "none"), ("argmax", "probabilities", "softmax"), ("softmax", "logits", "none")],
)
def test_an_output_that_the_graph_does_not_give(describe: Describe, photo, graph: str, output: str, op: str) -> None:
    with pytest.raises(UserError, match=f"{output} of a graph that ends in .*--output_op {op}"):
        Predictor(describe(graph), device="cpu").predict(photo(32, 32), output=output)


def broken(folder: Path, file: str, content: bytes | None) -> Path:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("deploy.yaml", None, ["deploy.yaml"]),
        ("deploy.yaml", b"- a\n", ["deploy.yaml", "Deploy"]),
        ("deploy.yaml", b"{a: [", ["deploy.yaml", "YAML"]),
        ("deploy.yaml", b"Deploy: {transforms: []}", ["output_op", "argmax"]),
        ("deploy.yaml", b"Deploy: {output_op: argmax, transforms: [5]}", ["transforms", "type"]),
        ("deploy.yaml", b"Deploy: {output_op: argmax, input_shape: [1, 2]}", ["input_shape"]),
        ("deploy.yaml", b"Deploy: {output_op: argmax, class_names: [a], class_colors: [[1, 2]]}", ["class_colors"]),
        ("model.pdiparams", None, ["model.pdiparams", "export the network again"]),
        ("model.pdmodel", b"nothing", ["model.pdmodel", "cannot load"]),
    ],
)
def test_a_wrong_folder_is_one_clear_line(describe: Describe, file: str, content: bytes | None, words: list) -> None:
    with pytest.raises(UserError) as error:
        Predictor(broken(describe(), file, content), device="cpu")
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent does not exist"):
        Predictor(tmp_path / "absent")


@pytest.mark.parametrize("image", [b"", b"no image", np.zeros((4, 5, 2), np.uint8), np.zeros((4, 5, 3)), "absent.png"])
def test_what_is_no_image(describe: Describe, image: object) -> None:
    with pytest.raises(UserError):
        Predictor(describe(), device="cpu").predict(image)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_a_truncated_image(describe: Describe, photo, suffix: str) -> None:
    predictor = Predictor(describe(), device="cpu")
    data = cv2.imencode(suffix, photo(80, 90))[1].tobytes()
    assert predictor.predict(data).shape == (1, 80, 90)
    with pytest.raises(UserError, match="damaged"):
        predictor.predict(data[: len(data) * 2 // 3])


def test_a_real_export(tmp_path: Path, photo: Callable) -> None:
    config = tiny.config(tmp_path / "training", class_names=["sky", "road", "car"])
    folder, shape = tmp_path / "exported", "--input_shape 1 3 40 48"
    arguments = ["--config", str(config), "--save_dir", str(folder), *shape.split()]
    assert run_command("export", arguments, prog="hrfamily export") == 0
    predictor = Predictor(folder, device="cpu")
    assert predictor.predict(photo(40, 48)).shape == (1, 40, 48)
    assert predictor.bundle.class_names == ("sky", "road", "car") and len(predictor.bundle.class_colors) == 3
    moved = shutil.move(folder, tmp_path / "elsewhere")  # which needs nothing but itself
    assert Predictor(moved, device="cpu").predict(photo(40, 48)).shape == (1, 40, 48)
