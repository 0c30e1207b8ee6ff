"""Curves out of real VisualDL logs."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from visualdl import LogWriter

from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.commands.curves import _running_mean, read_curve


def log(folder: Path, name: str, values: dict[int, float], tag: str = "Train/loss") -> None:
    with LogWriter(str(folder), file_name=f"vdlrecords.{name}.log") as writer:
        for step, value in values.items():
            writer.add_scalar(tag, value, step)


@pytest.fixture
def resumed(tmp_path: Path) -> Path:
    """A run that was killed at iteration 30 and went on from 20."""
    folder = tmp_path / "run"
    log(folder, "1", {10: 3.0, 20: 2.0, 30: 9.0})
    log(folder, "2", {30: 1.5, 40: 1.0})
    return folder


def test_a_resumed_run_is_one_curve(resumed: Path) -> None:
    assert read_curve(resumed, "Train/loss") == {10: 3.0, 20: 2.0, 30: 1.5, 40: 1.0}
    assert read_curve(resumed, "Evaluate/mIoU") == {}


def test_image(resumed: Path, tmp_path: Path, capsys) -> None:
    assert run_command("curves", [str(resumed), "--save", str(tmp_path / "c.png")], prog="hrfamily curves") == 0
    assert "run: training loss 1.0000 at iteration 40" in capsys.readouterr().out
    drawn = cv2.imread(str(tmp_path / "c.png"))
    assert drawn.shape[0] > 300
    assert drawn.std() > 5


@pytest.mark.parametrize("save", ["absent/c.png", "c.notapicture"])
def test_unwritable_image(resumed: Path, tmp_path: Path, capsys, save: str) -> None:
    assert run_command("curves", [str(resumed), "--save", str(tmp_path / save)], prog="hrfamily curves") == 2
    assert "--save" in capsys.readouterr().err


def test_a_folder_without_a_log(tmp_path: Path, capsys) -> None:
    assert run_command("curves", [str(tmp_path)], prog="hrfamily curves") == 2
    assert "--use_vdl" in capsys.readouterr().err


def test_running_mean() -> None:
    assert _running_mean([1.0, 3.0, 5.0, 7.0, 9.0, 21.0]) == [1, 2, 3, 4, 5, 9]
