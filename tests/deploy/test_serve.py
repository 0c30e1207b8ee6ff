"""The script, as an operator runs it: draining, workers that die, counts of several processes, and bad arguments."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from hrfamily_deploy import bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line
from hrfamily_deploy.serving import process, settings
from tests.deploy.conftest import DEPLOY, NORMALIZE, Describe, describe_in
from tests.deploy.http_tools import decoded, encoded
from tests.deploy.malformed import BODY_SECONDS, attack
from tests.deploy.server_process import Server, children, started, until, until_gone

LIBRARIES = ("fastapi", "fastapi_offline", "prometheus_client", "python_multipart", "starlette", "uvicorn", "h11")
Photo = Callable[..., np.ndarray]
SMALL = ("--threads", 1, "--sizes", "64x64", "--max-batch", 4)


def run(*arguments: object) -> int:
    return command_line.main("serve", list(map(str, arguments)))


@pytest.fixture(scope="module")
def needed() -> None:
    for library in LIBRARIES:
        pytest.importorskip(library)


@pytest.fixture(scope="module")
def folder(needed: None, graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return describe_in(tmp_path_factory.mktemp("serve"), graphs)()


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """Of two workers."""
    with started(f"street={folder}", *SMALL, "--workers", 2, "--body-seconds", BODY_SECONDS) as running:
        until(lambda: running.err.read_text().count(" ready, process ") == 2)
        yield running


def segment(server: Server, data: bytes, **options: object) -> requests.Response:
    headers = {"Content-Type": "image/png"}
    return requests.post(f"{server.url}/v1/models/street/segment", data, headers=headers, timeout=60, **options)


def test_a_worker_that_is_killed_is_replaced(server: Server, folder: Path, photo: Photo) -> None:
    data = encoded(photo(64, 96))
    label = Predictor(folder, device="cpu", threads=1).predict(data)[0]
    np.testing.assert_array_equal(decoded(segment(server, data).content), label)
    victim, other = server.workers()
    network = children(victim)
    os.kill(victim, signal.SIGKILL)
    statuses = [200]

    def is_replaced() -> bool:
        statuses.append(segment(server, data).status_code)
        return server.err.read_text().count(" ready, process ") == 3

    until(is_replaced, "replacing")
    assert set(statuses) == {200} and len(statuses) > 5  # by the other one alone, while the new one loads
    assert other in server.workers() and victim not in server.workers() and len(server.workers()) == 2
    until_gone(network)
    for _ in range(4):
        np.testing.assert_array_equal(decoded(segment(server, data).content), label)
    counted = requests.get(f"{server.url}/metrics", timeout=60).text
    everything = float(len(statuses) + 4)  # the dead one's included
    assert f'hrfamily_requests_total{{model="street",status="200"}} {everything}' in counted
    assert 'hrfamily_queue_length{model="street"} 0.0' in counted


def test_it_ends_while_a_worker_is_being_replaced(server: Server) -> None:
    victim, other = server.workers()
    os.kill(victim, signal.SIGKILL)
    until(lambda: set(server.workers()) - {victim, other}, "replacing")
    until(lambda: any(map(children, set(server.workers()) - {other})), "loading")
    family = server.family()
    server.process.terminate()
    assert server.process.wait(15) == 0
    until_gone(family)


def test_draining_under_load(server: Server, photo: Photo) -> None:
    """What was begun before SIGTERM is answered well, what comes later is refused, and nothing is left."""
    data, family = encoded(photo(300, 400)), server.family()

    def client(_: int) -> list[tuple[float, int]]:
        seen = []
        while not seen or seen[-1][1] == 200:
            begun = time.monotonic()
            try:
                seen.append((begun, segment(server, data).status_code))
            except requests.RequestException:
                seen.append((begun, 0))  # nobody listens any more
        return seen

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        time.sleep(1.5)
        told = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert time.monotonic() - told < 15
        seen = [entry for done in clients for entry in done.result()]
    before = [status for begun, status in seen if begun < told - 0.1]
    assert len(before) >= 16 and set(before) == {200}
    assert {status for _, status in seen} <= {200, 503, 0}
    until_gone(family)


def test_the_one_who_waits_is_answered_after_sigterm(folder: Path, photo: Photo) -> None:
    data = encoded(photo(700, 900))
    with started(f"street={folder}", *SMALL) as server, ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(segment, server, data) for _ in range(6)]
        until(lambda: "hrfamily_queue_length" in requests.get(f"{server.url}/metrics", timeout=60).text)
        time.sleep(0.1)
        os.kill(server.workers()[0], signal.SIGINT)  # as a terminal sends Ctrl-C to all of a group
        server.process.send_signal(signal.SIGINT)
        assert [future.result().status_code for future in waiting] == [200] * 6
        assert server.process.wait(30) == 0


def test_work_that_outlasts_draining_is_broken_off(folder: Path, photo: Photo) -> None:
    data = encoded(photo(40, 60))
    with started(f"street={folder}", *SMALL, "--drain-seconds", 2, "--timeout", 60) as server:
        (worker,) = server.workers()
        (network,) = children(worker)
        os.kill(network, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            stuck = pool.submit(segment, server, data)
            time.sleep(0.5)
            begun = time.monotonic()
            server.process.terminate()
            status = server.process.wait(20)
            assert status in (0, 1) and time.monotonic() - begun < 10
            with pytest.raises(requests.RequestException):
                stuck.result()
        os.kill(network, signal.SIGCONT)
        until(lambda: not Path(f"/proc/{network}").exists(), "the end of its network")


def test_nothing_outlives_the_process_above(server: Server) -> None:
    family = server.family()
    server.process.kill()
    until_gone(family[1:])


def test_malformed_requests(server: Server, photo: Photo) -> None:
    """A short version; `tests/deploy/malformed.py` sends thousands."""
    report = attack(server, encoded(photo(48, 64), "JPEG"), 154, seed=1)
    assert report.faults() == []
    assert sum(sum(counts.values()) for counts in report.statuses.values()) == 154
    assert report.statuses["slow"][408] >= 12 and report.statuses["bad form"][422] >= 12


def test_the_key_comes_from_the_environment(folder: Path) -> None:
    with started(folder, *SMALL, HRFAMILY_API_KEY="a-key") as server:
        assert requests.get(f"{server.url}/v1/models", timeout=60).status_code == 401
        headers = {"Authorization": "Bearer a-key"}
        (model,) = requests.get(f"{server.url}/v1/models", headers=headers, timeout=60).json()["models"]
        assert model["name"] == folder.name
        assert "a-key" not in server.out.read_text() + server.err.read_text()


def test_weights_that_only_loading_finds_damaged(needed: None, describe: Describe) -> None:
    folder = describe()
    (folder / "model.pdiparams").write_bytes(b"damaged")
    command = [sys.executable, DEPLOY / "serve.py", folder, "--port", "0", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and "cannot load it" in lines[0] and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], ["absent does not exist"]),
        (["empty"], ["no exported network"]),
        (["good", "deep/good"], ["another model has the name good", "NAME="]),
        (["bad name"], ["'bad name' is no name for an address"]),
        (["../x=good"], ["'../x' is no name"]),
        (["good", "--port", "70000"], ["70000", "--port"]),
        (["good", "--host", "nowhere.invalid"], ["nowhere.invalid", "--host"]),
        (["good", "--workers", "0"], ["--workers 0"]),
        (["good", "--max-queue", "-1"], ["--max-queue -1"]),
        (["good", "--timeout", "nan"], ["--timeout nan"]),
        (["good", "--max-wait-ms", "-1"], ["--max-wait-ms -1"]),
        (["good", "--max-aspect", "0.5"], ["--max-aspect 0.5"]),
        (["good", "--max-batch", "0"], ["batch 0"]),
        (["good", "--device", "tpu"], ["no device 'tpu'"]),
        (["good", "--backend", "caffe"], ["no backend 'caffe'"]),
        (["good", "--api-key-file", "none.txt"], ["none.txt", "No such file"]),
        (["good", "--api-key-file", "empty.txt"], ["empty.txt", "one key"]),
        (["four"], ["4 channels"]),
        ([], ["[NAME=]FOLDER"]),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    needed: None, describe: Describe, tmp_path: Path, monkeypatch, capsys, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    describe().rename(tmp_path / "good")
    (tmp_path / "deep").mkdir()
    for path in ("deep/good", "bad name"):
        (tmp_path / path).symlink_to(tmp_path / "good")
    describe(name="four", input_shape=[-1, 4, -1, -1], transforms=[]).rename(tmp_path / "four")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    monkeypatch.setattr(Path, "resolve", Path.absolute)  # the links' own names
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and all(word in err for word in words), err


def test_an_address_that_is_taken(folder: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(folder, "--device", "cpu", "--port", taken.getsockname()[1]) == 2
    assert re.match(r"error: 127\.0\.0\.1:\d+ cannot be served on \(.*in use\)", capsys.readouterr().err)


def test_a_missing_library_is_named(describe: Describe, monkeypatch, capsys) -> None:
    for name in [name for name in sys.modules if name.startswith("hrfamily_deploy.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert run(describe(), "--device", "cpu") == 2
    err = capsys.readouterr().err
    assert "is not installed: pip install 'paddle_hrfamily[serve]'" in err and err.count("\n") == 1


def test_names(tmp_path: Path) -> None:
    assert settings.named(["a=x", str(tmp_path / "b.1")]) == {"a": Path("x").resolve(), "b.1": tmp_path / "b.1"}
    (tmp_path / "c=d").mkdir()
    with pytest.raises(UserError, match="'c=d' is no name"):
        settings.named([str(tmp_path / "c=d")])


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (512, 1024)),
        ({"input_shape": [-1, 3, 64, -1]}, (64, 1024)),
        ({"transforms": [{"type": "Padding", "target_size": [96, 64]}, NORMALIZE]}, (64, 96)),
    ],
)
def test_what_is_warmed_up_with(describe: Describe, changes: dict, size: tuple[int, int]) -> None:
    assert process.warm_up_size(bundle.read(describe(**changes))) == size


def test_every_flag_has_its_default_in_the_help() -> None:
    for action in command_line.parser("serve")._actions:
        assert action.dest in ("help", "folders") or "default: " in action.help, action.dest


@pytest.mark.parametrize(
    "file", sorted(DEPLOY.glob("hrfamily_deploy/serving/**/*.py")), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_the_room_imports_neighbours_and_the_server_s_libraries(file: Path) -> None:
    known = {"hrfamily_deploy", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= known | {*LIBRARIES, "cv2", "numpy", "PIL", "ray"}
