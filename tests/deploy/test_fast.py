"""Fast exports in deploy/: the answers of a plain export of the same network, by every runtime and every script."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hrfamily_deploy import bundle, tiling
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging.postprocess import best_of, labels_of, planes_back
from hrfamily_deploy.imaging.preprocess import Step
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime import autotune, hardware, planning
from hrfamily_deploy.runtime.backends import openvino_runtime
from hrfamily_deploy.runtime.options import Options
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.export.fast import from_images
from tests.deploy.conftest import CLASSES, COLORS, DEPLOY, NORMALIZE
from tests.deploy.served import served
from tests.deploy.test_plan import GPU
from tests.deploy.test_preprocess import CHAINS
from tests.fast_forms import Streams, balanced, pictures

OPEN, FIXED = (-1, 3, -1, -1), (2, 3, 64, 96)
GREY = {"type": "Normalize", "mean": [0.4], "std": [0.3]}
TO_ONNX = ("paddle2onnx", "onnx", "onnxruntime")
Exports = Callable[..., Path]


def write(
    model: paddle.nn.Layer, shape: Sequence[int], chain: list[dict], folder: Path, fast: bool, labels: bool = False
) -> None:
    """As `hrfamily export` does, with --fast (and, of labels, --output_op argmax), or with --output_op none."""
    *before, normalize = chain
    description = {
        "transforms": before if fast else chain,
        "input_shape": list(shape),
        "output_op": "argmax" if labels else "none",
        "class_names": list(CLASSES),
        "class_colors": [list(color) for color in COLORS],
    }
    folder.mkdir()
    if fast:
        dtype = "float32" if before else "uint8"
        from_images.save(model, shape, normalize["mean"], normalize["std"], dtype, folder / "model", labels)
        size = "image" if labels else "native"
        description |= {"input_layout": "NHWC", "input_dtype": dtype, "output_size": size}
    else:
        static_graph.save(model, shape, "none", folder / "model")
    (folder / "deploy.yaml").write_text(yaml.safe_dump({"Deploy": description}))


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    """The folder of a network with that shape and these transforms, made once: fast, or plain with logits."""
    models = {channels: balanced(Streams(channels), len(CLASSES), channels) for channels in (1, 3)}
    root, made = tmp_path_factory.mktemp("exports"), {}

    def get(
        fast: bool, shape: Sequence[int] = OPEN, chain: Sequence[dict] = (NORMALIZE,), labels: bool = False
    ) -> Path:
        key = json.dumps([fast, shape, chain, labels])
        if key not in made:
            made[key] = root / str(len(made))
            write(models[shape[1]], shape, list(chain), made[key], fast, labels)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_graph, "OPEN_SIZES", ((64, 96),))
        yield get


@pytest.fixture(scope="module")
def with_onnx(exports: Exports) -> Exports:
    """As `exports`, with model.onnx in the folder."""
    for library in TO_ONNX:
        pytest.importorskip(library)
    from hrfamily_deploy.convert import onnx_export

    def get(*arguments: object) -> Path:
        folder = exports(*arguments)
        if not (folder / "model.onnx").exists():
            onnx_export.convert(folder)
        return folder

    return get


def assert_same(found: np.ndarray, expected: np.ndarray, share: float = 0.9999) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.uint8
    assert (found == expected).mean() >= share and len(np.unique(expected)) >= 4


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40), (128, 31)])
def test_the_map_of_a_plain_export(exports: Exports, photo, size: tuple[int, int]) -> None:
    images = [photo(*size, number) for number in range(5)]
    plain, fast = (Predictor(exports(kind), device="cpu", threads=2, batch=3) for kind in (False, True))
    assert fast.prepare(images[0]).planes.dtype == np.uint8 and fast.prepare(images[0]).planes.shape == (*size, 3)
    assert fast.plan().takes_images and fast.plan().input_dtype == "uint8"
    assert_same(fast.predict(images), plain.predict(images))
    assert_same(fast.clone().predict(images), plain.predict(images))


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_planes_of_a_plain_export(exports: Exports, photo, output: str) -> None:
    plain, fast = (Predictor(exports(kind), device="cpu", batch=2) for kind in (False, True))
    images = [photo(57, 64, number) for number in range(3)]
    np.testing.assert_allclose(fast.predict(images, output), plain.predict(images, output), atol=1e-3)


def test_a_fixed_shape(exports: Exports, photo) -> None:
    plain, fast = (Predictor(exports(kind, FIXED), device="cpu") for kind in (False, True))
    images = [photo(64, 96, number) for number in range(3)]
    assert fast.plan().batch == 2
    assert_same(fast.predict(images), plain.predict(images))
    assert_same(fast.predict(images), Predictor(exports(True), device="cpu").predict(images))


@pytest.mark.parametrize("chain", ["resize", "long and pad"])
def test_images_that_are_resized_before(exports: Exports, photo, chain: str) -> None:
    steps = [*(entry for entry in CHAINS[chain] if entry["type"] != "Normalize"), NORMALIZE]
    assert len(steps) > 1
    plain, fast = (Predictor(exports(kind, OPEN, steps), device="cpu", threads=2) for kind in (False, True))
    image = photo(90, 121)
    assert fast.plan().input_dtype == "float32" and fast.prepare(image).planes.dtype == np.float32
    assert_same(fast.predict(image), plain.predict(image))
    np.testing.assert_allclose(fast.predict(image, "logits"), plain.predict(image, "logits"), atol=1e-3)


@pytest.mark.parametrize("backend", ["paddle", "openvino", "onnxruntime"])
def test_a_graph_of_labels(exports: Exports, with_onnx: Exports, photo, backend: str) -> None:
    pytest.importorskip(backend)
    folder = (with_onnx if backend == "onnxruntime" else exports)(True, OPEN, (NORMALIZE,), True)
    fast = Predictor(folder, device="cpu", backend=backend, batch=2)
    for size in [(64, 96), (57, 64)]:
        images = [photo(*size, number) for number in range(3)]
        assert fast.run([fast.prepare(images[0])]).dtype == np.uint8
        assert_same(fast.predict(images), Predictor(exports(False), device="cpu").predict(images))


def test_one_channel(exports: Exports, photo) -> None:
    shape = (-1, 1, -1, -1)
    plain, fast = (Predictor(exports(kind, shape, (GREY,)), device="cpu") for kind in (False, True))
    for image in (photo(57, 64), photo(57, 64)[..., 0]):
        assert fast.prepare(image).planes.shape == (57, 64, 1)
        assert_same(fast.predict(image), plain.predict(image))


@pytest.mark.parametrize("shape", [OPEN, FIXED])
def test_tiles(exports: Exports, photo, shape: tuple) -> None:
    plain, fast = (Predictor(exports(kind, shape), device="cpu", batch=2) for kind in (False, True))
    image = photo(130, 201)
    found, expected = (tiling.predict(predictor, image, tile=96, overlap=32) for predictor in (fast, plain))
    assert_same(found, expected)


@pytest.mark.parametrize("shape", [OPEN, FIXED])
def test_openvino(exports: Exports, photo, shape: tuple) -> None:
    pytest.importorskip("openvino")
    expected = Predictor(exports(False, shape), device="cpu", batch=2)
    fast = Predictor(exports(True, shape), backend="openvino", batch=2)
    for size in [(64, 96)] if shape == FIXED else [(64, 96), (57, 64)]:
        images = [photo(*size, number) for number in range(3)]
        assert_same(fast.predict(images), expected.predict(images))
        assert_same(fast.clone().predict(images), expected.predict(images))


@pytest.mark.parametrize("shape", [OPEN, FIXED])
def test_openvino_in_bf16(exports: Exports, photo, shape: tuple) -> None:
    pytest.importorskip("openvino")
    if not hardware.probe().has_bf16:
        pytest.skip("this CPU has no bf16")
    images = [photo(64, 96, number) for number in range(3)]
    expected = Predictor(exports(True, shape), backend="openvino", batch=2).predict(images, "logits")
    fast = Predictor(exports(True, shape), backend="openvino", precision="bf16", batch=2)
    for predictor in (fast, fast.clone()):
        found = predictor.predict(images, "logits")
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
        assert_same(predictor.predict(images), expected.argmax(1).astype(np.uint8), 0.97)


def test_constants_from_the_left_become_inputs_and_all_stays_as_it_was(exports: Exports) -> None:
    """On any CPU, in float32."""
    pytest.importorskip("openvino")
    core, file = openvino_runtime.core(), exports(True, FIXED) / "model.pdmodel"
    answers = []
    for precision in ("fp32", "bf16"):
        model, constants = openvino_runtime.prepared_model(file, precision)
        assert bool(constants) == (precision == "bf16")
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        runner = openvino_runtime.OpenVinoRunner(compiled, constants)
        answers += [each.run(pictures(2, 64, 96)) for each in (runner, runner.clone())]
    assert len(constants) >= 2
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-4)


@pytest.mark.parametrize("shape", [OPEN, FIXED])
def test_onnxruntime(exports: Exports, with_onnx: Exports, photo, shape: tuple) -> None:
    expected = Predictor(exports(False, shape), device="cpu", batch=2)
    fast = Predictor(with_onnx(True, shape), backend="onnxruntime", batch=2)
    for size in [(64, 96)] if shape == FIXED else [(64, 96), (57, 64)]:
        images = [photo(*size, number) for number in range(3)]
        assert_same(fast.predict(images), expected.predict(images))


@settings(deadline=None)
@given(
    classes=st.one_of(st.integers(2, 9), st.integers(250, 300)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    factor=st.integers(1, 9),
    width=st.integers(1, 60),
    strips=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_strips_are_the_whole(
    classes: int, size: tuple[int, int], factor: int, width: int, strips: int, seed: int
) -> None:
    planes = np.random.default_rng(seed).standard_normal((classes, *size), dtype=np.float32)
    steps = [Step("resize", size[0] * factor, width)]
    with ThreadPoolExecutor(2) as threads:
        label = labels_of(planes, steps, threads, strips)
    resized = np.stack(list(planes_back(planes, steps)))
    assert label.shape == resized.shape[1:] and label.dtype == (np.uint8 if classes <= 256 else np.uint16)
    chosen = np.take_along_axis(resized, label[None].astype(np.int64), axis=0)[0]
    assert (chosen >= resized.max(axis=0) - 1e-5).all()


@settings(deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(1, 40)))
)
def test_other_ways_back_are_the_whole_as_well(classes: int, side: int, changes: list) -> None:
    """Sizes that no whole number leads to, paddings, and several changes."""
    steps = []
    height = width = side
    for resized, rows, columns in changes:  # the last change was the first to be undone
        height, width = (rows, columns) if resized else (min(rows, height), min(columns, width))
        steps.insert(0, Step("resize" if resized else "padding", height, width))
    planes = np.random.default_rng(side).standard_normal((classes, side, side), dtype=np.float32)
    with ThreadPoolExecutor(2) as threads:
        label = labels_of(planes, steps, threads, 3)
    expected = np.stack(list(planes_back(planes, steps)))
    assert label.shape == (height, width)
    chosen = np.take_along_axis(expected, label[None].astype(np.int64), axis=0)[0]
    assert (chosen >= expected.max(axis=0) - 1e-5).all()


@pytest.mark.parametrize("classes", [2, 256, 257, 1000])
def test_the_greatest_of_many_planes(classes: int) -> None:
    """The first, where several are."""
    planes = np.random.default_rng(0).integers(0, 50, (classes, 90, 70)).astype(np.float32)
    label = best_of(iter(planes))
    np.testing.assert_array_equal(label, planes.argmax(axis=0))
    assert label.dtype == (np.uint8 if classes <= 256 else np.uint16)


RUNTIMES = ("paddle", "openvino")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Small images and few rounds; the backends of each time that something was measured."""
    asked, in_turns = [], autotune._in_turns

    def counted(network: bundle.Bundle, options: Options, backends: Sequence[str]) -> dict[str, float]:
        asked.append(list(backends))
        return in_turns(network, options, backends)

    monkeypatch.setattr(autotune, "_OPEN_SIZE", (64, 96))
    monkeypatch.setattr(autotune, "_ROUNDS", 2)
    monkeypatch.setattr(autotune, "_in_turns", counted)
    return asked


@pytest.fixture
def copied(exports: Exports, tmp_path: Path) -> Path:
    """A fast export for this test alone."""
    import shutil

    return Path(shutil.copytree(exports(True), tmp_path / "copied", ignore=shutil.ignore_patterns("*.onnx")))


def test_auto_measures_once(copied: Path, measured: list, photo) -> None:
    pytest.importorskip("openvino")
    first = Predictor(copied, device="cpu", backend="auto", threads=1)
    assert measured == [sorted(RUNTIMES)]
    (times,) = json.loads((copied / autotune.RECORD).read_text()).values()
    assert set(times) == set(RUNTIMES) and all(0 < time < 10_000 for time in times.values())
    assert first.plan().backend == min(times, key=times.get) and "ms" in first.plan().notes[0]
    second = Predictor(copied, device="cpu", backend="auto", threads=1)
    assert len(measured) == 1 and second.plan() == first.plan()
    image = photo(64, 96)
    assert_same(first.predict(image), Predictor(copied, device="cpu").predict(image))


def test_a_runtime_that_breaks_is_not_taken(copied: Path, measured: list, monkeypatch) -> None:
    """Though it would be the first to be taken."""
    pytest.importorskip("onnxruntime")
    here = hardware.probe()
    without = {name: version for name, version in here.runtimes.items() if name != "openvino"}
    monkeypatch.setattr(hardware, "probe", lambda: dataclasses.replace(here, runtimes=without))
    (copied / "model.onnx").write_bytes(b"damaged")
    predictor = Predictor(copied, device="cpu", backend="auto", threads=1)
    assert measured == [["onnxruntime", "paddle"]] and predictor.plan().backend == "paddle"
    notes = "\n".join(predictor.plan().notes)
    assert " inf" not in notes and f"onnxruntime: failed when it was measured here; remove {autotune.RECORD}" in notes
    (times,) = json.loads((copied / autotune.RECORD).read_text()).values()
    assert times["onnxruntime"] is None and times["paddle"] > 0
    (copied / "model.onnx").write_bytes(b"damaged in another way")
    Predictor(copied, device="cpu", backend="auto", threads=1)
    assert len(measured) == 2


def test_those_who_ask_at_the_same_time_wait_for_one_measurement(copied: Path, measured: list) -> None:
    pytest.importorskip("openvino")
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(Predictor, copied, device="cpu", backend="auto", threads=1) for _ in range(3)]
        plans = [each.result().plan() for each in made]
    assert len(measured) == 1 and plans[0] == plans[1] == plans[2]


def test_where_no_record_can_be_kept(copied: Path, tmp_path: Path, measured: list) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "file").touch()
    predictor = Predictor(copied, device="cpu", backend="auto", threads=1, cache=tmp_path / "file")
    assert len(measured) == 1 and " ms" in predictor.plan().notes[0]
    assert not (copied / autotune.RECORD).exists()


def test_what_cannot_be_is_not_measured(copied: Path, measured: list) -> None:
    for wrong in ({"threads": 0}, {"batch": 0}, {"sizes": [(0, 32)]}, {"tensorrt": True}):
        with pytest.raises(UserError):
            Predictor(copied, device="cpu", backend="auto", **wrong)
    assert measured == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 5}', "\x00\xff"])
def test_a_damaged_record_is_none(copied: Path, monkeypatch, content: str) -> None:
    times = {"openvino": 1.0, "paddle": 2.0}
    monkeypatch.setattr(autotune, "_in_turns", lambda *arguments: dict(times))
    (copied / autotune.RECORD).write_text(content, encoding="latin-1")
    network, here = bundle.read(copied), hardware.probe()
    assert autotune.recorded(network, Options(backend="auto"), here) == {}
    assert autotune.measured(network, Options(backend="auto"), here, times) == times
    assert autotune.recorded(network, Options(backend="auto"), here) == times


def test_a_record_is_of_one_network_and_one_way_to_run_it(copied: Path, monkeypatch) -> None:
    times = {"openvino": 1.0, "paddle": 2.0}
    monkeypatch.setattr(autotune, "_in_turns", lambda *arguments: dict(times))
    here, asked = hardware.probe(), Options(backend="auto", threads=2)

    def known(options: Options = asked, there: hardware.Hardware = here) -> bool:
        return bool(autotune.recorded(bundle.read(copied), options, there))

    autotune.measured(bundle.read(copied), asked, here, times)
    assert known() and known(dataclasses.replace(asked, gpu_memory_mb=5))
    for change in ({"threads": 1}, {"precision": "bf16"}, {"batch": 2}, {"sizes": [(32, 32)]}):
        assert not known(dataclasses.replace(asked, **change))
    for change in ({"cpu_name": "another"}, {"runtimes": {**here.runtimes, "paddle": "9.9"}}):
        assert not known(there=dataclasses.replace(here, **change))
    assert not known(dataclasses.replace(asked, cache=copied / "elsewhere"))
    with (copied / "model.pdiparams").open("ab") as weights:
        weights.write(b"x")
    assert not known()


def test_tensorrt_is_tuned_in_the_graphs_own_order(exports: Exports) -> None:
    def shapes(shape: Sequence[int], **options: object) -> list[list[int]]:
        asked = Options(tensorrt=True, **options)
        return planning.make(bundle.read(exports(True, shape)), asked, GPU).settings.tensorrt.made_for["shapes"]

    sizes = [(512, 1024), (256, 2048)]
    assert shapes(OPEN, batch=4, sizes=sizes) == [[1, 256, 1024, 3], [4, 512, 2048, 3]]
    assert shapes(FIXED) == [[2, 64, 96, 3]]


def script(name: str, *arguments: object) -> str:
    """What the script printed; it must end well."""
    command = [sys.executable, DEPLOY / name, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def street(photo, tmp_path: Path) -> Path:
    import cv2

    cv2.imwrite(str(tmp_path / "street.png"), cv2.cvtColor(photo(57, 64), cv2.COLOR_RGB2BGR))
    return tmp_path / "street.png"


def test_infer(exports: Exports, street: Path, photo, tmp_path: Path) -> None:
    from PIL import Image

    options = ["--device", "cpu", "--threads", 1, "--save-dir", tmp_path / "out"]
    said = script("infer.py", exports(True), street, *options)
    assert any(name in said for name in CLASSES)
    with Image.open(tmp_path / "out" / "labels" / "street.png") as label:
        assert_same(np.array(label)[None], Predictor(exports(False), device="cpu").predict(photo(57, 64)))


def test_benchmark_against_a_plain_export(exports: Exports, tmp_path: Path) -> None:
    options = ["--size", "64x96", "--runs", 5, "--warm-up", 1, "--frames", 1, "--json", tmp_path / "times.json"]
    script("benchmark.py", exports(True), "--compare", exports(False), *options)
    rows = json.loads((tmp_path / "times.json").read_text())["measurements"]
    assert [row["plan"]["input"] for row in rows] == ["pictures", "planes"]


def test_serve(exports: Exports, street: Path, photo) -> None:
    with served(exports(True)) as url:
        import requests

        name = requests.get(f"{url}/v1/models", timeout=60).json()["models"][0]["name"]
        answer = requests.post(
            f"{url}/v1/models/{name}/segment", data=street.read_bytes(), headers={"Accept": "image/png"}, timeout=60
        )
        assert answer.ok, answer.text
        import io

        from PIL import Image

        with Image.open(io.BytesIO(answer.content)) as label:
            assert_same(np.array(label)[None], Predictor(exports(False), device="cpu").predict(photo(57, 64)))


def test_triton(with_onnx: Exports, tmp_path: Path) -> None:
    said = script("to_triton.py", with_onnx(True), tmp_path, "--name", "street", "--sizes", "64x96")
    assert "TYPE_UINT8" in said and "[-1, -1, 3]" in said and "8x64x96x3" in said
    assert (tmp_path / "street" / "1" / "model.onnx").is_file()
