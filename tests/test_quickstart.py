"""`hrfamily quickstart`, cut short, from a wheel and outside any checkout; then what it leaves is put to use."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from PIL import Image

from tests import tiny
from tests.environments import Environment, build_wheel, copy_of_checkout
from tests.fakes import clean_environment

pytestmark = pytest.mark.line


class Installed(Environment):
    """An environment with the package's wheel in it."""

    def command(self, *arguments: object) -> list[str]:
        return [str(self.python.with_name("hrfamily")), *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        return clean_environment(PADDLE_HRFAMILY_HOME=str(self.elsewhere / "cache"), OMP_NUM_THREADS="1")

    def hrfamily(self, *arguments: object) -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            cwd=self.elsewhere,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    wheel = build_wheel(copy_of_checkout(tmp_path_factory.mktemp("checkout")), tmp_path_factory.mktemp("wheel"))
    environment = Installed(tmp_path_factory.mktemp("installed") / "venv")
    environment.pip("install", "--no-deps", wheel)
    return environment


@pytest.fixture(scope="module")
def finished(installed: Installed) -> tuple[Path, str]:
    """The folder that quickstart leaves, and what it printed."""
    said = installed.hrfamily("quickstart", "--iters", 3, "--pictures", 2, "--device", "cpu")
    return installed.elsewhere / "quickstart", said


def test_everything_is_where_the_summary_says(finished: tuple[Path, str]) -> None:
    folder, said = finished
    scores = json.loads((folder / "scores.json").read_text())
    assert f"validation mIoU {scores['miou']:.4f}; everything is in {folder}" in said
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


def test_it_is_the_wheel_that_runs(installed: Installed) -> None:
    said = installed.run(
        "-c", "import hrfamily_deploy, paddle_hrfamily as p; print(hrfamily_deploy.__file__, p.__file__)"
    )
    assert all(Path(file).is_relative_to(installed.site) for file in said.split())


def scene(installed: Installed) -> Path:
    return next((installed.elsewhere / "cache").rglob("val_00000.jpg"))


def test_the_export_is_verified_and_segments_images(installed: Installed, finished: tuple[Path, str]) -> None:
    folder, image = finished[0], scene(installed)
    weights = ("--config", "quickstart.yml", "--model_path", folder / "best_model")
    exported = folder / "inference_model"
    said = installed.hrfamily(
        "verify", *weights, "--folder", exported, "--images", image, "--precisions", "fp32", "--device", "cpu"
    )
    assert "agrees" in said
    installed.hrfamily("infer", exported, image, "--device", "cpu", "--save-dir", folder / "segmented")
    label = np.asarray(Image.open(next((folder / "segmented").rglob("val_00000.png"))))
    predict = f"Predictor({str(exported)!r}, device='cpu').predict({str(image)!r})[0]"
    code = f"from hrfamily_deploy import Predictor; label = {predict}; print(*label.shape, label.sum())"
    height, width, total = map(int, installed.run("-c", code).split()[-3:])
    assert (height, width) == label.shape == (128, 192)
    assert total == label.sum()


def test_the_export_is_served(installed: Installed, finished: tuple[Path, str]) -> None:
    log = installed.elsewhere / "serve.log"
    line = installed.command("serve", finished[0] / "inference_model", "--port", 0, "--device", "cpu")
    with log.open("w") as output:
        process = subprocess.Popen(
            line, env=installed.environment(), cwd=installed.elsewhere, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while not is_ready(log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(60)


def is_ready(said: str) -> bool:
    """Whether the server that said this has loaded its network."""
    url = re.search(r" on (http://\S+)", said)
    try:
        return url is not None and requests.get(f"{url[1]}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    result = tiny.run("quickstart", "--iters", 1, "--save_dir", "occupied", "--device", "cpu", cwd=tmp_path)
    assert result.returncode == 2
    assert "--save_dir occupied is a file" in result.stderr
    assert "hrfamily val" not in result.stdout
