"""The client against the server, as a library and as a script."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrfamily_deploy.client import Client, ServerError
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import drawing
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line
from tests.deploy.conftest import CLASSES, COLORS, DEPLOY, describe_in
from tests.deploy.served import KEY, held_upload, served

Photo = Callable[..., np.ndarray]
SECRET = "correct-horse"


def run(*arguments: object) -> int:
    return command_line.main("client", list(map(str, arguments)))


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def bundle(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return describe_in(tmp_path_factory.mktemp("client"), graphs)()


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    with served(f"street={bundle}", "--max-pixels", 20_000, "--max-uploads", 1) as address:
        yield address


@pytest.fixture(scope="module")
def locked(bundle: Path) -> Iterator[str]:
    with served(f"street={bundle}", f"lane={bundle}", key=SECRET) as address:
        yield address


@pytest.fixture
def picture(photo: Photo, tmp_path: Path) -> Path:
    path = tmp_path / "in" / "street.png"
    path.parent.mkdir()
    Image.fromarray(photo(70, 90)).save(path)
    return path


def test_models(url: str) -> None:
    with Client(url + "/") as one:
        assert one.only_model() == "street"
        [model] = one.models()
    assert [entry["name"] for entry in model["classes"]] == list(CLASSES)
    assert [entry["color"] for entry in model["classes"]] == list(COLORS)


@pytest.mark.parametrize("as_what", [Path, str, "bytes", "array"])
def test_label_maps_are_the_predictors(url: str, bundle: Path, picture: Path, photo: Photo, as_what: object) -> None:
    kinds = {"bytes": picture.read_bytes(), "array": photo(70, 90)}
    with Client(url) as one:
        label = one.segment(kinds[as_what] if as_what in kinds else as_what(picture))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, Predictor(bundle, device="cpu").predict(picture)[0])


def test_other_outputs(url: str, bundle: Path, picture: Path, photo: Photo) -> None:
    label = Predictor(bundle, device="cpu").predict(picture)[0]
    with Client(url) as one:
        overlay = one.segment(picture, "street", output="overlay", opacity=0.7)
        found = one.segment(picture, output="json")
    expected = drawing.overlay(photo(70, 90), label, COLORS, 0.7)
    np.testing.assert_array_equal(overlay, expected)
    shares = [entry["share"] for entry in found["classes"]]
    assert shares == pytest.approx(drawing.shares(label, len(CLASSES)), abs=1e-6)
    values, lengths = np.array(found["runs"]).T
    np.testing.assert_array_equal(np.repeat(values, lengths).reshape(label.shape), label)


def test_what_cannot_be_sent(url: str, photo: Photo, tmp_path: Path) -> None:
    with Client(url) as one:
        with pytest.raises(UserError, match="nowhere.png"):
            one.segment(tmp_path / "nowhere.png")
        with pytest.raises(UserError, match="float64"):
            one.segment(photo(8, 8) / 255)
        with pytest.raises(UserError, match="no output 'logits'"):
            one.segment(photo(8, 8), output="logits")


@pytest.mark.parametrize(("content", "status"), [(b"no image", 415), ("large", 413)])
def test_refusals(url: str, photo: Photo, content: object, status: int) -> None:
    with Client(url) as one, pytest.raises(ServerError) as caught:
        one.segment(photo(200, 200) if content == "large" else content)
    assert caught.value.status == status and caught.value.reason and f"({status} " in str(caught.value)


def test_unknown_model(url: str, photo: Photo) -> None:
    with Client(url) as one, pytest.raises(ServerError, match="nosuch.*street") as caught:
        one.segment(photo(8, 8), "nosuch")
    assert caught.value.status == 404


def test_keys(locked: str, photo: Photo, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(locked, api_key="wrong") as one, pytest.raises(ServerError, match="401"):
        one.models()
    assert run(locked) == 2 and "401" in last_line(capsys)
    monkeypatch.setenv(KEY, SECRET)
    assert run(locked) == 0 and capsys.readouterr().out.split() == ["street", "5", "classes", "lane", "5", "classes"]
    monkeypatch.delenv(KEY)
    (tmp_path / "key").write_text(SECRET + "\n")
    assert run(locked, "--api-key-file", tmp_path / "key") == 0
    assert run(locked, "--api-key-file", tmp_path / "none") == 2 and "none" in last_line(capsys)
    with Client(locked, SECRET) as one, pytest.raises(UserError, match="2 models; name one of them: street, lane"):
        one.segment(photo(8, 8))


def test_a_busy_server_is_asked_again_when_it_says(url: str, photo: Photo) -> None:
    with held_upload(url, "street"), Client(url, retries=0) as hasty, pytest.raises(ServerError) as caught:
        hasty.segment(photo(8, 8))
    assert caught.value.status == 429
    held = held_upload(url, "street")
    held.__enter__()
    threading.Timer(0.5, held.__exit__, (None, None, None)).start()
    with Client(url, retries=5) as patient:
        assert patient.segment(photo(8, 8)).shape == (8, 8)


@pytest.mark.parametrize(
    ("output", "name"), [("labels", "street.png"), ("overlay", "street.jpg"), ("json", "street.json")]
)
def test_a_folder_with_a_bad_image(
    url: str, bundle: Path, picture: Path, photo: Photo, tmp_path: Path, capsys, output: str, name: str
) -> None:
    (picture.parent / "deep").mkdir()
    Image.fromarray(photo(50, 60, 1)).save(picture.parent / "deep" / "lane.bmp")
    (picture.parent / "half.png").write_bytes(picture.read_bytes()[:3000])
    out = tmp_path / "out"
    options = ["--output", output, "--save-dir", out, "--concurrency", 2, "--retries", 20]
    assert run(url, picture.parent, picture, *options) == 1
    shown = capsys.readouterr()
    assert "3 of 4" in shown.out and "half.png" in shown.err
    expected = {output, f"{output}/deep", f"{output}/{name}", f"{output}/{name.replace('street', 'street_')}"}
    expected.add(f"{output}/deep/{name.replace('street', 'lane')}")
    assert {path.relative_to(out).as_posix() for path in out.rglob("*")} == expected
    if output == "labels":
        with Image.open(out / output / name) as image:
            assert image.getpalette()[: 3 * len(COLORS)] == [part for color in COLORS for part in color]
            np.testing.assert_array_equal(np.array(image), Predictor(bundle, device="cpu").predict(picture)[0])
    if output == "json":
        assert json.loads((out / output / name).read_text())["width"] == 90


def test_nothing_could_be_done(url: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    assert run(url, tmp_path, "--save-dir", tmp_path / "out") == 2
    assert "none of 1 images" in last_line(capsys) and not (tmp_path / "out").exists()


def test_no_server(picture: Path, tmp_path: Path, capsys) -> None:
    assert run("http://127.0.0.1:9", picture, "--save-dir", tmp_path / "out") == 2
    line = last_line(capsys)
    assert line.startswith("error: http://127.0.0.1:9: no answer") and "refused" in line and len(line) < 120


def test_another_server(capsys) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert run(f"http://127.0.0.1:{server.server_port}") == 2
        assert "404" in last_line(capsys)
    finally:
        server.shutdown()
        server.server_close()


def test_a_silent_server(capsys) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # which nobody runs
    try:
        assert run(f"http://127.0.0.1:{server.server_port}", "--timeout", 0.3) == 2
        assert "timed out" in last_line(capsys)
    finally:
        server.server_close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["localhost:8000"], "address"),
        (["http://127.0.0.1:9", "nowhere"], "does not exist"),
        (["http://127.0.0.1:9", "--concurrency", 0], "--concurrency 0"),
        (["http://127.0.0.1:9", "--retries", -1], "--retries -1"),
        (["http://127.0.0.1:9", "--timeout", 0], "--timeout 0"),
        (["http://127.0.0.1:9", "--opacity", 2], "--opacity 2"),
        (["http://127.0.0.1:9", "--output", "logits"], "logits"),
        ([], "required: url"),
    ],
)
def test_one_line_for_what_cannot_be_done(arguments: list[object], words: str, capsys) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("error: ") and error.count("\n") == 1


def test_without_the_library(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    assert run("http://127.0.0.1:9") == 2 and "pip install 'paddle_hrfamily[serve]'" in last_line(capsys)


def test_as_a_script(url: str, picture: Path, tmp_path: Path) -> None:
    command = [sys.executable, DEPLOY / "client.py", url, picture, "--save-dir", tmp_path / "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "labels" / "street.png").is_file() and "1 of 1" in done.stdout
