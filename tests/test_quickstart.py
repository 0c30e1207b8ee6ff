"""`hrfamily quickstart`, cut short: every step of the way leaves what the summary promises."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import pytest

from tests import tiny

pytestmark = pytest.mark.line


def test_everything_is_where_the_summary_says(tmp_path: Path) -> None:
    result = subprocess.run(
        tiny.command("quickstart", "--iters", 3, "--pictures", 2, "--device", "cpu"),
        env={**tiny.environment(), "PADDLE_HRFAMILY_HOME": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    folder = tmp_path / "quickstart"
    scores = json.loads((folder / "scores.json").read_text())
    assert f"validation mIoU {scores['miou']:.4f}; everything is in {folder}" in result.stdout
    assert len(scores["classes"]) == 8
    assert {file.name for file in (folder / "inference_model").iterdir()} >= {
        "model.pdmodel",
        "model.pdiparams",
        "deploy.yaml",
    }
    assert (folder / "best_model" / "model.pdparams").is_file()
    assert list(folder.glob("vdlrecords.*.log"))
    pictures = sorted((folder / "pictures").glob("*.png"))
    assert len(pictures) == 2
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    assert width > 2.5 * 192  # three scenes of 192×128 beside each other, magnified
    assert height > 128


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    result = tiny.run("quickstart", "--iters", 1, "--save_dir", "occupied", "--device", "cpu", cwd=tmp_path)
    assert result.returncode == 2
    assert "--save_dir occupied is a file" in result.stderr
    assert "hrfamily val" not in result.stdout
