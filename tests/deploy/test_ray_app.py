"""Replicas on Ray Serve: their answers are the predictor's, and their deaths are survived without an error."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line, ray_app
from tests.deploy.conftest import Describe, describe_in
from tests.deploy.http_tools import decoded, encoded
from tests.deploy.server_process import PATIENCE, Server, children, started, until

LIBRARIES = ("ray", "fastapi_offline", "prometheus_client", "python_multipart", "uvicorn")
MODEL = f"street-{os.getpid()}"  # in the names of its processes, so that those of no other cluster are meant
BATCH, IN_HAND, WAITING = 4, 6, 24
Photo = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def folder(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in LIBRARIES:
        pytest.importorskip(library)
    return describe_in(tmp_path_factory.mktemp("ray"), graphs)()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """Two replicas of one thread each, which to Ray are no more than a part of a CPU."""
    scale = ("--replicas", 2, "--threads", 1, "--cpus", 0.1, "--max-ongoing", IN_HAND, "--sizes", "64x64")
    batches = ("--max-batch", BATCH, "--max-wait-ms", 50, "--max-queue", 2 * WAITING)
    patience = ("--timeout", PATIENCE, "--drain-seconds", PATIENCE)
    arguments = (f"{MODEL}={folder}", *scale, *batches, *patience)
    with started(*arguments, script="ray_app.py", OMP_NUM_THREADS="1") as running:
        yield running


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor(folder, device="cpu", threads=1)


def post(server: Server, data: bytes) -> requests.Response:
    return requests.post(f"{server.url}/v1/models/{MODEL}/segment", data, timeout=120)


def replicas() -> list[int]:
    """The processes that Ray runs the model's replicas in."""
    title = f"ray::ServeReplica:model-{MODEL}:{MODEL}".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if file.read_bytes().startswith(title):
                found.append(int(file.parent.name))
    return sorted(found)


class Load:
    """Clients that send one image after the other, without a further attempt, until the end.

    Attributes:
        answers: how many there were of each kind: "equal", or what else came.
    """

    def __init__(self, server: Server, pictures: list[tuple[bytes, np.ndarray]], clients: int = 6) -> None:
        self.answers: Counter[str] = Counter()
        self._server, self._images = server, pictures
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(clients)]

    def _send(self, start: int) -> None:
        for data, label in itertools.islice(itertools.cycle(self._images), start, None):
            if self._is_over.is_set():
                return
            try:
                response = post(self._server, data)
                equal = response.ok and np.array_equal(decoded(response.content), label)
                self.answers["equal" if equal else f"{response.status_code} {response.text[:200]}"] += 1
            except requests.RequestException as error:
                self.answers[str(error)] += 1

    def wait_for_more(self, count: int = 20) -> None:
        wanted = self.answers.total() + count
        until(lambda: self.answers.total() >= wanted, f"{count} more answers")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def pictures(photo: Photo, predictor: Predictor) -> list[tuple[bytes, np.ndarray]]:
    images = [photo(40 + 24 * (number % 2), 60, number) for number in range(8)]
    return [(encoded(image), predictor.predict(image)[0]) for image in images]


def test_label_maps_are_the_predictor_s(server: Server, pictures: list[tuple[bytes, np.ndarray]]) -> None:
    (described,) = requests.get(f"{server.url}/v1/models", timeout=60).json()["models"]
    assert described["name"] == MODEL and described["batch"] == BATCH
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda entry: post(server, entry[0]), pictures))
    for response, (_, label) in zip(responses, pictures):
        assert response.ok, response.text
        np.testing.assert_array_equal(decoded(response.content), label)
        stages = re.findall(r"(\w+);dur=", response.headers["Server-Timing"])
        assert stages == ["queue", "decode", "prepare", "wait", "run", "answer", "encode"]


def test_images_of_one_size_share_batches(server: Server, photo: Photo) -> None:
    data = encoded(photo(48, 48))
    with ThreadPoolExecutor(12) as pool:
        timings = [response.headers["Server-Timing"] for response in pool.map(lambda _: post(server, data), range(12))]
    runs = Counter(re.search(r"run;dur=([0-9.]+)", timing)[1] for timing in timings)
    assert 1 < max(runs.values()) <= BATCH, runs  # those of one batch say the same


def test_refusals_come_through(server: Server, photo: Photo) -> None:
    jpeg = encoded(photo(64, 64), "JPEG")
    for data, status, reason in ((b"text", 415, "not_a_picture"), (jpeg[:-900], 422, "bad_picture")):
        response = post(server, data)
        assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    assert "Traceback" not in server.err.read_text()


def test_replicas_that_die_under_load_are_replaced(server: Server, pictures: list[tuple[bytes, np.ndarray]]) -> None:
    first, second = replicas()
    with Load(server, pictures) as load:
        load.wait_for_more()
        os.kill(first, signal.SIGKILL)
        load.wait_for_more()
        until(lambda: len(replicas()) == 2 and first not in replicas(), "a replica in its place")
        os.kill(second, signal.SIGKILL)  # from now on, the new ones answer
        load.wait_for_more()
        until(lambda: len(set(replicas()) - {first, second}) == 2, "two new replicas")
    assert set(load.answers) == {"equal"}, load.answers


def test_a_replica_whose_network_dies_is_replaced(server: Server, pictures: list[tuple[bytes, np.ndarray]]) -> None:
    old = replicas()
    until(lambda: len(children(old[0])) == 1, "its network")
    (network,) = children(old[0])
    with Load(server, pictures) as load:
        load.wait_for_more()
        os.kill(network, signal.SIGKILL)
        until(lambda: old[0] not in replicas(), "its end")
        load.wait_for_more()
    refused = [answer for answer in load.answers if answer != "equal"]
    assert all(answer.startswith("503") and "network_died" in answer for answer in refused), load.answers
    assert sum(load.answers[answer] for answer in refused) <= BATCH  # what was being run: it may be at fault
    until(lambda: len(replicas()) == 2, "a replica in its place")


def test_at_the_end_everything_in_hand_is_answered(server: Server, photo: Photo, predictor: Predictor) -> None:
    image = photo(1000, 1400)
    data, label = encoded(image, "BMP"), predictor.predict(image)[0]
    with ThreadPoolExecutor(WAITING) as pool:
        waiting = [pool.submit(post, server, data) for _ in range(WAITING)]
        until(lambda: in_hand(server) > 2 * IN_HAND + BATCH, "a queue before the replicas")
        server.process.send_signal(signal.SIGTERM)
        responses = [future.result() for future in waiting]
    assert server.process.wait(PATIENCE) == 0
    assert not replicas()
    for response in responses:
        assert response.ok, response.text
        np.testing.assert_array_equal(decoded(response.content), label)


def in_hand(server: Server) -> float:
    text = requests.get(f"{server.url}/metrics", timeout=60).text
    found = re.search(rf'^hrfamily_queue_length{{model="{MODEL}"}} (.+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--replicas", 0], ["--replicas 0", "above 0"]),
        (["--replicas", 3, "--max-replicas", 2], ["--max-replicas 2", "--replicas 3"]),
        (["--cpus", -1], ["--cpus -1"]),
        (["--device", "gpu:1"], ["--device gpu:1", "take gpu"]),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(capsys, arguments: list[object], words: list[str]) -> None:
    assert command_line.main("ray", ["folder", *map(str, arguments)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and all(word in err for word in words), err


@pytest.mark.parametrize(
    ("flags", "processors", "cpus"),
    [
        ([], [16], 16),
        (["--replicas", "3"], [16], 5),
        (["--replicas", "4"], [2], 0.5),  # more than there are cores: each still runs
        (["--replicas", "1", "--max-replicas", "4"], [16], 4),
        (["--replicas", "2", "--address", "auto"], [4, 4, 4], 4),  # no more than a machine has
        (["--threads", "3"], [16], 3),
        (["--threads", "3", "--cpus", "0"], [2], 0),
    ],
)
def test_processor_cores_are_shared(folder: Path, flags: list[str], processors: list[float], cpus: float) -> None:
    assert ray_app._scale(command_line.parser("ray").parse_args(["folder", *flags]), 1, processors).cpus == cpus


def test_more_than_there_is_would_wait_forever(folder: Path) -> None:
    args = command_line.parser("ray").parse_args(["folder", "--threads", "2", "--replicas", "2"])
    with pytest.raises(UserError, match="2 replicas .* more than the 3"):
        ray_app._scale(args, 1, [3])


def test_the_reason_is_found_in_ray_s_words(folder: Path) -> None:
    said = "The deployment failed to start 3 times in a row. Error:\nray::Replica\nerrors.UserError: a: no such file\n"
    from hrfamily_deploy.serving import cluster

    assert cluster._last_word(said + "Retrying") == "a: no such file"
    assert cluster._last_word("x" * 400 + "\nout of memory") == ("x" * 286) + " out of memory"


def test_a_missing_library_is_named(describe: Describe, monkeypatch, capsys) -> None:
    for name in [name for name in sys.modules if name.startswith("hrfamily_deploy.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert command_line.main("ray", [str(describe())]) == 2
    err = capsys.readouterr().err
    assert "pip install 'paddle_hrfamily[ray]'" in err and err.count("\n") == 1


def test_every_flag_has_its_default_in_the_help() -> None:
    for action in command_line.parser("ray")._actions:
        assert action.dest in ("help", "folders") or "default: " in action.help, action.dest
