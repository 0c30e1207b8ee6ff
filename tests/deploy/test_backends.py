"""A runtime is one file and one line: a further one is added to a copy of the package, and predicts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime import backends
from tests.deploy.conftest import DEPLOY, Describe

pytestmark = pytest.mark.line

# It takes what is brighter than the mean for road and the rest for sky, whatever the graph says.
BRIGHTNESS = '''
"""Labels by brightness, with numpy alone."""

from hrfamily_deploy.runtime.backends.base import Backend, register


class Brightness(Backend):
    name = "brightness"
    distributions = ("numpy",)
    cpu_precisions = ("fp32",)
    speed_rank = 5

    def reads(self, bundle):
        return bundle.description

    def why_unreadable(self, bundle):
        return ""

    def load(self, plan):
        return Runner()


class Runner:
    def run(self, batch):
        planes = batch.mean(axis=1)
        return (planes > planes.mean(axis=(1, 2), keepdims=True)).astype("int32")

    def clone(self):
        return self


register(Brightness())
'''
LINE = "from hrfamily_deploy.runtime.backends import brightness  # noqa: F401\n"


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A folder with a copy of the package that has one file and one line more."""
    package = tmp_path / "deploy" / "hrfamily_deploy"
    shutil.copytree(DEPLOY / "hrfamily_deploy", package, ignore=shutil.ignore_patterns("__pycache__"))
    folder = package / "runtime" / "backends"
    (folder / "brightness.py").write_text(BRIGHTNESS)
    listed = (folder / "__init__.py").read_text()
    (folder / "__init__.py").write_text(listed.replace("\n__all__", f"{LINE}\n__all__"))
    assert listed.count("\n__all__") == 1
    return package.parent


def contents(folder: Path) -> dict[str, list[str]]:
    files = (file for file in folder.rglob("*.py"))
    return {file.relative_to(folder).as_posix(): file.read_text().splitlines(keepends=True) for file in files}


def said(folder: Path, *arguments: object) -> str:
    """What Python printed that finds the package in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_runtime_is_one_file_and_one_line(extended: Path) -> None:
    before, after = contents(DEPLOY / "hrfamily_deploy"), contents(extended / "hrfamily_deploy")
    assert set(after) - set(before) == {"runtime/backends/brightness.py"}
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["runtime/backends/__init__.py"]
    assert [line for line in after[changed[0]] if line not in before[changed[0]]] == [LINE]
    assert len(after[changed[0]]) == len(before[changed[0]]) + 1


def test_it_predicts_and_is_planned_and_offered(extended: Path, describe: Describe, photo, tmp_path: Path) -> None:
    folder, image = describe(), photo(64, 96)
    Image.fromarray(image).save(tmp_path / "street.png")
    code = "import sys, numpy; from hrfamily_deploy import Predictor; predictor = Predictor(*sys.argv[1:2], 'cpu', "
    code += "backend='brightness'); numpy.save(sys.argv[3], predictor.clone().predict(sys.argv[2]))"
    said(extended, "-c", code, folder, tmp_path / "street.png", tmp_path / "label.npy")
    planes = Predictor(folder, device="cpu").prepare(image).planes
    np.testing.assert_array_equal(np.load(tmp_path / "label.npy")[0], planes.mean(axis=0) > planes.mean())

    infer = ("-m", "hrfamily_deploy", "infer", folder, "--dry-run")
    assert "brightness, auto" in " ".join(said(extended, *infer, "--help").split())
    plan = json.loads(said(extended, *infer, "--backend", "brightness"))
    assert plan["backend"] == "brightness" and plan["version"] == np.__version__ and plan["params"] is None
    plan = json.loads(said(extended, *infer, "--backend", "auto", "--device", "cpu"))
    assert plan["backend"] == "brightness" and "is the fastest of those that can" in plan["notes"][0]


def test_two_runtimes_of_one_name_are_refused() -> None:
    known = dict(backends.BACKENDS)
    with pytest.raises(ValueError, match="two backends 'openvino'"):
        backends.register(backends.BACKENDS["openvino"])
    assert known == backends.BACKENDS
