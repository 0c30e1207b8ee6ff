"""Forms of answer: the server, its documentation and the client take them from one list, which one file extends."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.serving.outputs import OUTPUTS, Output, register
from tests.deploy.conftest import DEPLOY, describe_in
from tests.deploy.served import LIBRARIES
from tests.deploy.server_process import Server, started

NAMES = ["labels", "overlay", "json", "confidence"]
LINE = "from hrfamily_deploy.serving.outputs import numbers  # noqa: F401\n"
FILE = '''
"""The label map as NumPy writes it."""

import io

import numpy as np

from hrfamily_deploy.serving.outputs.base import Output, Segmented, register


def encode(segmented: Segmented) -> bytes:
    content = io.BytesIO()
    np.save(content, segmented.label)
    return content.getvalue()


register(
    Output(
        name="npy",
        description="NumPy's file of the label map",
        media_types={"application/x-npy": ".npy"},
        encode=encode,
        decode=lambda content: np.load(io.BytesIO(content)),
    )
)
'''
Photo = Callable[..., np.ndarray]


def test_the_list() -> None:
    assert list(OUTPUTS) == NAMES
    assert [name for name, output in OUTPUTS.items() if output.needs_image] == ["overlay"]
    with pytest.raises(ValueError, match="two outputs 'json'"):
        register(OUTPUTS["json"])
    assert list(OUTPUTS) == NAMES


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "a/usual"),
        ("", "a/usual"),
        ("a/other", "a/other"),
        ("a/third;q=0.5, text/html", "a/third"),
        ("a/other, a/usual", "a/usual"),
    ],
)
def test_how_accept_chooses(accept: str, media_type: str) -> None:
    types = {"a/usual": ".u", "a/other": ".o", "a/third": ".t"}
    output = Output("x", "", types, encode=lambda _: b"", decode=lambda _: {}, lossless="a/third")
    assert output.media_type(accept) == media_type
    assert output.accept(lossless=True) == "a/third" and output.accept(lossless=False) == "*/*"


@pytest.fixture(scope="module")
def bundle(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in LIBRARIES:
        pytest.importorskip(library)
    return describe_in(tmp_path_factory.mktemp("outputs"), graphs)()


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/ with one file and one line more."""
    deploy = tmp_path_factory.mktemp("extended") / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("__pycache__"))
    outputs = deploy / "hrfamily_deploy" / "serving" / "outputs"
    (outputs / "numbers.py").write_text(FILE.lstrip())
    before, line, after = (outputs / "__init__.py").read_text().partition("\n__all__")
    (outputs / "__init__.py").write_text(before + LINE + line + after)
    return deploy


@pytest.fixture(scope="module")
def server(bundle: Path, extended: Path) -> Iterator[Server]:
    with started(f"street={bundle}", "--threads", 1, "--sizes", "64x64", script=str(extended / "serve.py")) as running:
        yield running


@pytest.fixture
def picture(photo: Photo, tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), photo(50, 70))
    return path


def run(extended: Path, *arguments: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_file_and_one_line_reach_http_and_the_documentation(server: Server, bundle: Path, picture: Path) -> None:
    import requests

    url = f"{server.url}/v1/models/street/segment"
    response = requests.post(url, picture.read_bytes(), params={"output": "npy"}, timeout=60)
    assert response.headers["Content-Type"] == "application/x-npy"
    expected = Predictor(bundle, device="cpu").predict(picture)[0]
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), expected)

    operation = requests.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]["/v1/models/{name}/segment"]
    [parameter] = [entry for entry in operation["post"]["parameters"] if entry["name"] == "output"]
    assert parameter["schema"]["enum"] == [*NAMES, "npy"] and parameter["schema"]["default"] == "labels"
    answer = operation["post"]["responses"]["200"]
    assert set(answer["content"]) == {"image/png", "image/jpeg", "application/json", "application/x-npy"}
    assert "npy: NumPy's file of the label map." in answer["description"]
    refused = requests.post(url, picture.read_bytes(), params={"output": "bmp"}, timeout=60).json()["error"]
    assert refused["reason"] == "bad_parameter" and "'npy'" in refused["message"]


def test_and_the_client(server: Server, bundle: Path, extended: Path, picture: Path, tmp_path: Path) -> None:
    expected = Predictor(bundle, device="cpu").predict(picture)[0]
    code = (
        "import sys, numpy as np\nfrom hrfamily_deploy import Client\n"
        "with Client(sys.argv[1]) as client: label = client.segment(sys.argv[2], output='npy')\n"
        "print(label.dtype, label.shape, int((label != np.load(sys.argv[3])).sum()))"
    )
    np.save(tmp_path / "expected.npy", expected)
    said = run(extended, "-c", code, server.url, picture, tmp_path / "expected.npy")
    assert said == f"uint8 {expected.shape} 0\n"
    text = " ".join(run(extended, extended / "client.py", "--help").split())
    assert "labels, overlay, json, confidence or npy" in text
    run(extended, extended / "client.py", server.url, picture, "--output", "npy", "--save-dir", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "npy" / "street.npy"), expected)
