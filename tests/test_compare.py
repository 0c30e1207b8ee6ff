"""`hrfamily compare`: several networks over the same labelled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.visualization import drawing
from paddle_hrfamily.weights import save
from paddle_hrfamily.zoo import create_model
from tests import tiny

MODEL = {"type": "HRNetSeg", "backbone": {"type": "HRNet", "variant": "W18_Small_V1"}, "num_classes": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config, and a training's folder with weights for it."""
    folder = tmp_path_factory.mktemp("compare")
    config = tiny.config(folder, model=MODEL)
    weights = folder / "output" / "best_model" / "model.pdparams"
    weights.parent.mkdir(parents=True)
    save({k: v.numpy() for k, v in create_model("hrnet_w18_small_v1", 3).state_dict().items()}, weights)
    return config, folder / "output"


def compare(*arguments: object) -> int:
    return run_command("compare", ["--device", "cpu", *map(str, arguments)], prog="hrfamily compare")


def test_every_network_has_a_column_and_every_image_a_row(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config, output = run
    runs = ["--run", config, output, "--run", config, output / "best_model"]
    assert compare(*runs, "--pictures", 0, 3, "--save", tmp_path / "two.png") == 0
    assert "config, config #2" in capsys.readouterr().out
    assert compare("--run", config, output, "--save", tmp_path / "one.png") == 0
    two, one = (image_files.decode(tmp_path / name) for name in ("two.png", "one.png"))
    width = 48 * 6  # 48 pixels, magnified until text is legible
    assert two.shape[1] >= 4 * width > one.shape[1] >= 3 * width
    assert two.shape[0] > one.shape[0] + 40 * 5


def test_images_of_unequal_size_make_one_sheet(run: tuple[Path, Path], tmp_path: Path) -> None:
    """Every row is as wide as any other, and shows its image undistorted."""
    config = tiny.config(tmp_path, model=MODEL)
    pixels, label = np.full((40, 96, 3), (10, 200, 30), np.uint8), np.zeros((40, 96), np.uint8)
    image_files.write(tmp_path / "data/1.png", label)
    image_files.write(tmp_path / "data/1.jpg", pixels)
    assert compare("--run", config, run[1], "--pictures", 0, 1, "--save", tmp_path / "sheet.png") == 0
    sheet = image_files.decode(tmp_path / "sheet.png")
    green = np.abs(sheet.astype(int) - (10, 200, 30)).max(-1) < 12
    rows, columns = np.flatnonzero(green.any(1)), np.flatnonzero(green.any(0))
    width, height = np.ptp(columns[columns < sheet.shape[1] // 3]) + 1, np.ptp(rows) + 1
    assert width / height == pytest.approx(96 / 40, rel=0.03)


def test_the_columns_of_a_row_are_its_own() -> None:
    table = drawing.ClassTable(("a", "b"), ((255, 0, 0), (0, 0, 255)))
    frame = np.zeros((128, 256, 3), np.uint8)
    zero, one = np.zeros((128, 256), int), np.ones((128, 256), int)
    shown = drawing.comparison([(frame, zero, {"net": one}), (frame, one, {"net": zero})], table, opacity=1.0)
    reds = (shown == (255, 0, 0)).all(-1)
    blues = (shown == (0, 0, 255)).all(-1)
    third = shown.shape[1] // 3
    assert reds[:149, third : 2 * third].sum() == blues[:149, 2 * third :].sum() == 128 * 256
    assert reds[:149, 2 * third :].sum() == 0


def test_columns_are_reduced() -> None:
    table = drawing.ClassTable(("a", "b"), ((255, 0, 0), (0, 0, 255)))
    label = np.zeros((300, 600), int)
    label[:, 300:] = 1
    frame = np.zeros((300, 600, 3), np.uint8), label, {"net": label}
    wide, narrow = (drawing.comparison([frame], table, 1.0, width) for width in (None, 400))
    assert narrow.shape[1] < 1250 < 1800 < wide.shape[1]
    assert (narrow == (255, 0, 0)).all(-1).sum() >= 2 * 200 * 200


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--opacity", 1.5], "--opacity 1.5 must be a number of 0"),
        (["--width", 0], "--width 0 must be a number of pixels"),
        (["--pictures", 7], "--pictures 7: the first config's val_dataset has pictures 0 to 6"),
        (["--run", "other.yml", "OUTPUT"], "--run other.yml: its classes are others than those of"),
    ],
)
def test_bad_input_is_one_line(
    run: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: list,
    says: str,
) -> None:
    config, output = run
    content = yaml.safe_load(config.read_text())
    (tmp_path / "other.yml").write_text(yaml.safe_dump({**content, "class_names": ["x", "y", "z"]}))
    monkeypatch.chdir(tmp_path)
    given = [output if argument == "OUTPUT" else argument for argument in arguments]
    assert compare("--run", config, output, *given) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "comparison.png").exists()
