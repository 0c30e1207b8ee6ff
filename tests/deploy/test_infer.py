"""The script, as a user runs it: images, lists, videos, what is left out, and one line for what cannot be."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrfamily_deploy import segmentation
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line
from tests.deploy.conftest import CLASSES, COLORS, DEPLOY, Describe

pytestmark = pytest.mark.line

Photo = Callable[..., np.ndarray]
ALLOWED = {"cv2", "google", "matplotlib", "numpy", "onnx", "onnxruntime", "openvino", "paddle", "paddle2onnx", "PIL"}
ALLOWED |= {"nncf", "rasterio", "ray", "requests", "tqdm", "tritonclient", "urllib3", "yaml"}


def run(*arguments: object) -> int:
    return command_line.main("infer", list(map(str, arguments)))


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def label_of(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        assert image.mode == "P" and image.getpalette()[:15] == [part for color in COLORS for part in color]
        return np.array(image)


@pytest.fixture
def folder(photo: Photo, tmp_path: Path) -> Path:
    """Four good images, one in a folder of its own and two of one stem, a truncated one, and a text."""
    root = tmp_path / "in"
    for number, name in enumerate(["a.png", "b.png", "deep/a.png", "a.bmp"]):
        save(root / name, photo(40 + 8 * (number == 1), 60, number))
    (root / "half.jpg").write_bytes(cv2.imencode(".jpg", photo(90, 90))[1].tobytes()[:1500])
    (root / "notes.md").write_text("no image")
    return root


def test_a_folder_with_a_bad_image(describe: Describe, folder: Path, tmp_path: Path, capsys) -> None:
    bundle, out = describe(), tmp_path / "out"
    assert run(bundle, folder, "--save-dir", out, "--device", "cpu", "--batch", 2) == 1
    predictor = Predictor(bundle, device="cpu")
    report = json.loads((out / "shares.json").read_text())
    assert [entry["name"] for entry in report["left_out"]] == ["half.jpg"]
    assert sorted(entry["name"] for entry in report["pictures"]) == ["a.bmp", "a.png.png", "b.png", "deep/a.png"]
    for source, name in {"a.bmp": "a", "a.png": "a.png", "b.png": "b", "deep/a.png": "deep/a"}.items():
        label = label_of(out / "labels" / f"{name}.png")
        np.testing.assert_array_equal(label, predictor.predict(folder / source)[0])
    entry = next(entry for entry in report["pictures"] if entry["name"] == "b.png")
    expected = np.bincount(label_of(out / "labels" / "b.png").ravel(), minlength=5) / (48 * 60)
    assert entry["height"] == 48 and entry["width"] == 60
    assert [entry["shares"].get(name, 0) for name in CLASSES] == pytest.approx(expected, abs=1e-6)
    assert sum(report["shares"].values()) == pytest.approx(1, abs=1e-5)
    said = capsys.readouterr()
    assert "half.jpg: not an image, or a damaged one" in said.err and "1 of 5 images were left out" in said.out


def test_overlays_show_image_and_colours(describe: Describe, photo: Photo, tmp_path: Path) -> None:
    bundle, picture = describe(), save(tmp_path / "wide.png", photo(32, 300))
    assert run(bundle, picture, "--save-dir", tmp_path, "--no-legend", "--opacity", 0.25) == 0
    drawn = cv2.cvtColor(cv2.imread(str(tmp_path / "overlay" / "wide.png")), cv2.COLOR_BGR2RGB)
    colors = np.array(COLORS)[label_of(tmp_path / "labels" / "wide.png")]
    np.testing.assert_allclose(drawn, 0.75 * photo(32, 300) + 0.25 * colors, atol=1)
    assert run(bundle, picture, "--save-dir", tmp_path) == 0
    legend = cv2.imread(str(tmp_path / "overlay" / "wide.png"))[32:, :, ::-1]
    occurring = np.unique(colors.reshape(-1, 3), axis=0)
    assert legend.shape[1] == 300 and len(occurring) >= 3
    assert all((legend == color).all(axis=-1).any() for color in occurring)


def test_a_list_and_no_overlay(describe: Describe, folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text(f"in/a.png labels/a.png\n\n{folder / 'b.png'}\nin/absent.png\n")
    assert run(describe(), names, "--save-dir", tmp_path / "out", "--no-overlay") == 1
    assert {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()} == {"a.png", "b.png", "shares.json"}


def test_by_tiles(describe: Describe, photo: Photo, tmp_path: Path) -> None:
    bundle, picture = describe(), save(tmp_path / "large.png", photo(256, 320))
    assert run(bundle, picture, "--save-dir", tmp_path, "--tile", 128, "--overlap", 32, "--batch", 2) == 0
    whole = Predictor(bundle, device="cpu").predict(picture)[0]
    assert (label_of(tmp_path / "labels" / "large.png") == whole).mean() >= 0.9999


def test_images_that_need_tiles_are_said(monkeypatch, describe: Describe, photo: Photo, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(segmentation, "_MOST_PIXELS", 3000)
    save(tmp_path / "in" / "large.png", photo(64, 64))
    save(tmp_path / "in" / "small.png", photo(40, 40))
    assert run(describe(), tmp_path / "in", "--save-dir", tmp_path) == 1
    assert "large.png: 64x64 pixels are too many for one run; give --tile 1024" in capsys.readouterr().err


@pytest.fixture
def video(photo: Photo, tmp_path: Path) -> Path:
    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (96, 64))
    for number in range(7):
        writer.write(photo(64, 96, number))
    writer.release()
    return path


@pytest.mark.parametrize(("flags", "frames"), [([], 7), (["--batch", 3], 7), (["--frames", 4, "--no-legend"], 4)])
def test_a_video(describe: Describe, video: Path, tmp_path: Path, flags: list, frames: int) -> None:
    assert run(describe(), video, "--save-dir", tmp_path, *flags) == 0
    report = json.loads((tmp_path / "shares.json").read_text())
    assert report["frames"] == frames and report["frames_per_second"] == 10
    made = cv2.VideoCapture(str(tmp_path / "overlay" / "drive.mp4"))
    assert made.get(cv2.CAP_PROP_FRAME_COUNT) == frames
    _, frame = made.read()
    assert frame.shape == (64, 96, 3) if "--no-legend" in flags else frame.shape[0] > 64


def test_dry_run_prints_the_plan_and_runs_nothing(describe: Describe, tmp_path: Path, capsys) -> None:
    assert run(describe(), "--dry-run", "--threads", 3, "--save-dir", tmp_path / "out") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["threads"] == 3 and plan["backend"] == "paddle" and plan["onednn"] is True
    assert not (tmp_path / "out").exists()


def test_every_flag_has_its_default_in_the_help() -> None:
    for action in command_line.parser("infer")._actions:
        assert action.dest in ("help", "folder", "source") or "default: " in action.help, action.dest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.png"], ["nowhere.png does not exist"]),
        (["empty"], ["empty holds no image"]),
        (["bytes.bin"], ["bytes.bin is neither an image"]),
        (["false.mp4"], ["false.mp4", "not a video"]),
        (["absent.mp4"], ["absent.mp4 does not exist"]),
        (["97"], ["webcam 97"]),
        (["false.png"], ["none of 1 images", "false.png: not an image"]),
        ([], ["source is missing"]),
        (["good.png", "--device", "tpu"], ["no device 'tpu'", "auto, cpu, gpu or gpu:N"]),
        (["good.png", "--device", "gpu:7"], ["gpu:7"]),
        (["good.png", "--backend", "caffe"], ["no backend 'caffe'"]),
        (["good.png", "--precision", "fp16", "--device", "cpu"], ["precision fp16"]),
        (["good.png", "--batch", "0"], ["batch 0"]),
        (["good.png", "--batch", "many"], ["--batch", "many"]),
        (["good.png", "--opacity", "2"], ["--opacity 2"]),
        (["good.png", "--tile", "100"], ["100", "multiple of 32"]),
        (["good.png", "--sizes", "5by5"], ["--sizes", "5by5"]),
        (["good.png", "--save-dir", "good.png"], ["good.png", "cannot be written"]),
        (["good.mp4", "--tile", "128"], ["--tile 128 is for images"]),
        (["good.png", "--frames", "0"], ["--frames 0"]),
        (["good.png", "--colour"], ["--colour"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    describe: Describe, photo: Photo, tmp_path: Path, monkeypatch, capfd, arguments: list, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("false.mp4", "false.png", "bytes.bin"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00nothing")
    save(tmp_path / "good.png", photo(40, 40))
    assert run(describe(), *arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_wrong_folder(tmp_path: Path, capsys, name: str) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / name, tmp_path) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_it_stands_alone(describe: Describe, photo: Photo, tmp_path: Path) -> None:
    """Run where importing this package or PaddleSeg fails."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(dict.fromkeys(['paddle_hrfamily', 'paddleseg', 'torch']))\n"
    )
    picture = save(tmp_path / "street.png", photo(64, 96))
    script = [sys.executable, DEPLOY / "infer.py", describe(), picture, "--save-dir", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "overlay" / "street.png").is_file() and "results are in" in done.stdout


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(DEPLOY.rglob("*.py")) if "serving" not in file.parts],
    ids=lambda file: file.relative_to(DEPLOY).as_posix(),
)
def test_imports_are_what_an_export_needs(file: Path) -> None:
    known = {"hrfamily_deploy", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= ALLOWED | known
