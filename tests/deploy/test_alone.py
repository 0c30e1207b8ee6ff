"""The package copied alone to a machine that has what its short requirements ask for, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement

from hrfamily_deploy.predictor import Predictor
from tests.deploy.conftest import DEPLOY, Describe
from tests.fakes import clean_environment

# An environment may have another distribution of the same library.
SAME = {"opencv-python-headless": ("opencv-python-headless", "opencv-python", "opencv-contrib-python")}
Photo = Callable[..., np.ndarray]


def required(*files: str) -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for file in files for line in (DEPLOY / file).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def closure(requirements: Iterable[Requirement]) -> Iterator[metadata.Distribution]:
    """The installed distributions that these ask for, directly or not."""
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        names = SAME.get(requirement.name, (requirement.name,))
        found = [each for each in map(installed, names) if each]
        if not found:
            pytest.skip(f"needs {requirement.name}")
        distribution = found[0]
        key = (distribution.name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        yield distribution
        for line in distribution.requires or []:
            needed = Requirement(line)
            extras = [{"extra": extra} for extra in (*requirement.extras, "")]
            if needed.marker is None or any(map(needed.marker.evaluate, extras)):
                waiting.append(needed)


def installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def test_what_is_tested_is_what_is_required() -> None:
    for requirement in required("requirements.txt", "requirements-serve.txt"):
        found = [each for each in map(installed, SAME.get(requirement.name, (requirement.name,))) if each]
        assert not found or requirement.specifier.contains(found[0].version, prereleases=True), requirement


class Machine:
    """A virtual environment with these distributions, and a folder with a copy of the package."""

    def __init__(self, folder: Path, requirements: Iterable[Requirement]) -> None:
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        site = next((folder / "venv").glob("lib/*/site-packages"))
        for distribution in closure(requirements):
            for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
                target = Path(str(distribution.locate_file(top)))
                if target.exists() and not (site / top).exists():
                    (site / top).symlink_to(target)
        self.folder = folder / "copied"
        shutil.copytree(
            DEPLOY / "hrfamily_deploy", self.folder / "hrfamily_deploy", ignore=shutil.ignore_patterns("__pycache__")
        )

    def command(self, *arguments: object) -> list[str]:
        return [str(self.python), *map(str, arguments)]

    def run(self, *arguments: object) -> str:
        """What it wrote. Fails the test if it does not exit with 0."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=clean_environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def street(photo: Photo, tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), photo(64, 96))
    return path


def labels(file: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        return np.array(image)


@pytest.mark.parametrize("runtime", ["paddle", "openvino"])
def test_infer(describe: Describe, street: Path, tmp_path: Path, runtime: str) -> None:
    """By one runtime alone: of those that are not asked for, none is there either."""
    bundle = describe()
    distribution = "paddlepaddle" if runtime == "paddle" else runtime
    machine = Machine(tmp_path / "machine", [*required("requirements.txt"), Requirement(distribution)])
    others = {"paddle", "openvino", "onnxruntime", "paddle_hrfamily", "paddleseg", "fastapi", "requests"} - {runtime}
    found = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert machine.run("-c", found, *sorted(others)) == "[]\n"

    said = machine.run("-m", "hrfamily_deploy", "infer", bundle, street, "--save-dir", "out", "--backend", runtime)

    assert "results are in out" in said
    expected = Predictor(bundle, device="cpu").predict(street)[0]
    assert (labels(machine.folder / "out" / "labels" / "street.png") == expected).mean() >= 0.9999
    code = "import sys, hrfamily_deploy as d; print(d.Predictor(sys.argv[1], backend=sys.argv[2]).plan().device)"
    assert machine.run("-c", code, bundle, runtime) == "cpu\n"


def test_serve(describe: Describe, street: Path, tmp_path: Path) -> None:
    bundle = describe()
    needed = [*required("requirements.txt", "requirements-serve.txt"), Requirement("paddlepaddle")]
    machine = Machine(tmp_path / "machine", needed)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("serve", f"street={bundle}", "--port", port, "--sizes", "64x96", "--threads", 1)
    server = subprocess.Popen(
        machine.command("-m", "hrfamily_deploy", *arguments),
        cwd=machine.folder,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        client = ("-m", "hrfamily_deploy", "client", f"http://127.0.0.1:{port}")
        ready = f"import requests; requests.get('http://127.0.0.1:{port}/readyz', timeout=5).raise_for_status()"
        while subprocess.run(machine.command("-c", ready), stderr=subprocess.DEVNULL).returncode:
            assert server.poll() is None and time.monotonic() < end
        assert "1 of 1" in machine.run(*client, street, "--save-dir", "out")
    finally:
        server.terminate()
        assert server.wait(60) == 0
    expected = Predictor(bundle, device="cpu").predict(street)[0]
    np.testing.assert_array_equal(labels(machine.folder / "out" / "labels" / "street.png"), expected)


def test_the_client_needs_no_runtime(tmp_path: Path) -> None:
    asked = [each for each in required("requirements.txt", "requirements-serve.txt") if each.name != "pyyaml"]
    light = [each for each in asked if each.name not in ("fastapi", "fastapi-offline", "uvicorn")]
    machine = Machine(tmp_path, light)
    done = subprocess.run(
        machine.command("-m", "hrfamily_deploy", "client", "http://127.0.0.1:9"),
        cwd=machine.folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no answer" in done.stderr, done.stderr


def test_a_copy_uses_itself(tmp_path: Path) -> None:
    """And not the package that is installed where it runs."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "deploy" / "hrfamily_deploy" / "errors.py"
    file.write_text(file.read_text() + '\nraise UserError("the copy")\n')
    command = [sys.executable, tmp_path / "deploy" / "infer.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "the copy" in done.stderr
