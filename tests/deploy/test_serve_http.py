"""The interface, with models whose answers are scripted, over real connections."""

# ruff: noqa: E402  the server's libraries may be absent
from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import requests

from hrfamily_deploy.errors import UserError

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi_offline")
pytest.importorskip("prometheus_client")

from hrfamily_deploy.serving import application, protocol
from hrfamily_deploy.serving.engine import Description, SegmentRequest, SegmentResponse
from hrfamily_deploy.serving.limits import Limits
from hrfamily_deploy.serving.metrics import Metrics
from hrfamily_deploy.serving.protocol import Protocol
from hrfamily_deploy.serving.refusals import Refusal
from tests.deploy.http_tools import MEDIA_TYPES, answer, connected, encoded, head, png_of_size

PATH = "/v1/models/street/segment"
KEY = "correct-horse"
LIMITS = Limits(body=200_000, body_seconds=1.0, pixels=10_000, aspect=8, queue=3, uploads=4, seconds=1.5)


@dataclass
class Scripted:
    """An engine that answers when it is let, or raises what it is given."""

    name: str = "street"
    may_answer: bool = True
    raises: Exception | None = None
    may_start: threading.Event = field(default_factory=threading.Event)
    jobs: list[SegmentRequest] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    async def start(self) -> Description:
        while not self.may_start.is_set():
            await asyncio.sleep(0.01)
        colors = ((1, 2, 3), (4, 5, 6))
        return Description(self.name, ("road", "car"), colors, (-1, 3, -1, -1), "paddle", "fp32", "cpu", 4)

    async def segment(self, job: SegmentRequest) -> SegmentResponse:
        self.jobs.append(job)
        try:
            while not self.may_answer:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.raises:
            raise self.raises
        return SegmentResponse(b"answer", job.media_type, {"decode": 1.234, "run": 5.0})

    async def close(self) -> None:
        self.closed = True


@dataclass
class Running:
    url: str
    engine: Scripted
    app: object

    def post(
        self, content: bytes, media_type: str = "image/png", path: str = PATH, **headers: str
    ) -> requests.Response:
        return requests.post(self.url + path, content, headers={"Content-Type": media_type, **headers}, timeout=30)

    def get(self, path: str, **more: object) -> requests.Response:
        return requests.get(self.url + path, timeout=30, **more)


@contextmanager
def running(limits: Limits = LIMITS, started: bool = True, **options: object) -> Iterator[Running]:
    engine = Scripted()
    if started:
        engine.may_start.set()
    app = application.create({"street": engine}, limits, **options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Protocol, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        made = Running(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", engine, app)
        if started:
            until(lambda: made.get("/readyz").ok)
        yield made
    finally:
        engine.may_answer = True
        server.should_exit = True
        thread.join(30)
    assert engine.closed


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[Running]:
    with running() as made:
        yield made


@pytest.fixture(scope="module")
def picture() -> bytes:
    return encoded(np.zeros((40, 60, 3), np.uint8))


def reason(response: requests.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert set(content) == {"error"} and set(content["error"]) == {"reason", "message"}
    assert content["error"]["message"]
    return response.status_code, content["error"]["reason"]


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list]:
    results: list = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    return thread, results


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_every_format_as_it_is_and_in_a_form(server: Running, kind: str) -> None:
    content = encoded(np.full((20, 30, 3), 90, np.uint8), kind)
    for media_type in (MEDIA_TYPES[kind], "application/octet-stream", f"{MEDIA_TYPES[kind].upper()}; q=1"):
        assert server.post(content, media_type).status_code == 200
    response = requests.post(server.url + PATH, files={"image": ("../../x", content)}, data={"other": "1"}, timeout=30)
    assert response.status_code == 200 and response.content == b"answer"
    assert [job.data for job in server.engine.jobs] == [content] * 4
    assert response.headers["Server-Timing"] == "decode;dur=1.23, run;dur=5.00"


def test_chunked_bodies_without_a_type(server: Running, picture: bytes) -> None:
    response = requests.post(server.url + PATH, iter([picture[:10], picture[10:]]), timeout=30)
    assert response.status_code == 200 and server.engine.jobs[0].data == picture


@pytest.mark.parametrize(
    ("query", "accept", "media_type", "opacity"),
    [
        ("", "*/*", "image/png", 0.4),
        ("?output=labels", "image/jpeg", "image/png", 0.4),
        ("?output=overlay&opacity=0.75", "*/*", "image/jpeg", 0.75),
        ("?output=overlay", "image/png", "image/png", 0.4),
        ("?output=overlay", "image/png, image/jpeg", "image/jpeg", 0.4),
        ("?output=json&opacity=1", "*/*", "application/json", 1.0),
    ],
)
def test_outputs(server: Running, picture: bytes, query: str, accept: str, media_type: str, opacity: float) -> None:
    response = server.post(picture, path=PATH + query, Accept=accept)
    assert response.headers["Content-Type"] == media_type
    job = server.engine.jobs[0]
    assert job.media_type == media_type and job.opacity == opacity and job.output in (query or "labels")


BAD_FORM = b"--x\r\nno header\r\n\r\n1\r\n--x--"


@pytest.mark.parametrize(
    ("content", "media_type", "path", "expected"),
    [
        (b"", "image/png", PATH, (422, "empty")),
        (b"GIF89a" + bytes(50), "image/png", PATH, (415, "not_a_picture")),
        (bytes(500), "image/jpeg", PATH, (415, "not_a_picture")),
        (b"text", "text/plain", PATH, (415, "unsupported_type")),
        (b"a=b", "application/x-www-form-urlencoded", PATH, (415, "unsupported_type")),
        (b"a=b", "multipart/form-data", PATH, (422, "bad_form")),
        (BAD_FORM, "multipart/form-data; boundary=x", PATH, (422, "bad_form")),
        (b"--x--\r\n", "multipart/form-data; boundary=x", PATH, (422, "no_file")),
        (png_of_size(50_000, 50_000), "image/png", PATH, (413, "too_many_pixels")),
        (png_of_size(101, 100), "image/png", PATH, (413, "too_many_pixels")),
        (png_of_size(90, 10), "image/png", PATH, (422, "too_long")),
        (bytes(200_001), "image/png", PATH, (413, "too_large")),
        (b"", "image/png", PATH + "?output=classes", (422, "bad_parameter")),
        (b"", "image/png", PATH + "?opacity=nan", (422, "bad_parameter")),
        (b"", "image/png", PATH + "?opacity=1.01", (422, "bad_parameter")),
        (b"", "image/png", "/v1/models/lane/segment", (404, "no_such_model")),
        (b"", "image/png", "/v1/models/..%2f..%2fetc%2fpasswd/segment", (404, "no_such_address")),
        (b"", "image/png", "/static-offline-docs/..%2f..%2fcore.py", (405, "wrong_method")),
        (b"", "image/png", "/v1/models", (405, "wrong_method")),
        (b"", "image/png", "/nowhere", (404, "no_such_address")),
    ],
)
def test_what_is_wrong_is_said(
    server: Running, content: bytes, media_type: str, path: str, expected: tuple[int, str]
) -> None:
    assert reason(server.post(content, media_type, path)) == expected
    assert not server.engine.jobs


def test_forms_with_several_files_or_large_fields(server: Running, picture: bytes) -> None:
    two = requests.post(server.url + PATH, files=[("image", picture), ("image", picture)], timeout=30)
    assert reason(two) == (422, "bad_form")
    field_of_text = requests.post(server.url + PATH, files={"image": (None, "text")}, timeout=30)
    assert reason(field_of_text) == (422, "no_file")
    large = requests.post(server.url + PATH, files={"image": picture}, data={"a": "b" * 70_000}, timeout=30)
    assert reason(large) == (422, "bad_form")
    whole = requests.post(server.url + PATH, files={"image": bytes(210_000)}, timeout=30)
    assert reason(whole) == (413, "too_large")


def test_bodies_of_no_declared_length_are_measured_as_they_come(server: Running) -> None:
    parts = (bytes(50_000) for _ in range(60))
    assert reason(requests.post(server.url + PATH, parts, timeout=30)) == (413, "too_large")


def test_a_client_that_only_writes_gets_its_refusal(server: Running) -> None:
    """5 MB are more than the buffers between the two hold: closing at once would break the writing off."""
    with connected(server.url) as connection:
        connection.sendall(head(PATH, "Content-Length: 5000000", "Content-Type: image/png") + bytes(5_000_000))
        status, body = answer(connection)
    assert status == 413 and json.loads(body)["error"]["reason"] == "too_large"


def test_slow_heads(monkeypatch: pytest.MonkeyPatch, server: Running, picture: bytes) -> None:
    """Whether of a connection's first request or of a later one. Those that are answered slowly are left alone."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    whole = head(PATH, f"Content-Length: {len(picture)}", "Content-Type: image/png") + picture
    for first in (b"", whole):
        with connected(server.url) as connection:
            if first:
                connection.sendall(first)
                assert answer(connection)[0] == 200
            connection.sendall(b"POST / HT")
            assert connection.recv(100) == b""
    server.engine.may_answer = False
    thread, results = in_background(lambda: server.post(picture))
    time.sleep(1)
    server.engine.may_answer = True
    thread.join(10)
    assert results[0].status_code == 200


def test_slow_bodies(server: Running, picture: bytes) -> None:
    with connected(server.url) as connection:
        begun = time.monotonic()
        connection.sendall(head(PATH, f"Content-Length: {len(picture)}", "Content-Type: image/png") + picture[:-1])
        status, body = answer(connection)
        assert status == 408 and json.loads(body)["error"]["reason"] == "slow_body"
        assert 0.9 < time.monotonic() - begun < 10
    assert server.post(picture).status_code == 200


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("damaged"), (422, "bad_picture")),
        (Refusal(503, "network_died", "it died"), (503, "network_died")),
        (RuntimeError("/secret/path"), (500, "internal")),
    ],
)
def test_errors_of_engines(server: Running, picture: bytes, error: Exception, expected: tuple[int, str]) -> None:
    server.engine.raises = error
    response = server.post(picture)
    assert reason(response) == expected and "/secret" not in response.text and response.headers["X-Request-ID"]
    server.engine.raises = None
    assert server.post(picture).status_code == 200


def test_a_full_queue(server: Running, picture: bytes) -> None:
    server.engine.may_answer = False
    held = [in_background(lambda: server.post(picture)) for _ in range(3)]
    until(lambda: len(server.engine.jobs) == 3)
    assert 'hrfamily_queue_length{model="street"} 3.0' in server.get("/metrics").text
    response = server.post(picture)
    assert reason(response) == (429, "queue_full") and int(response.headers["Retry-After"]) >= 1
    server.engine.may_answer = True
    for thread, results in held:
        thread.join(10)
        assert results[0].status_code == 200
    assert server.post(picture).status_code == 200


def test_too_many_uploads(server: Running, picture: bytes) -> None:
    start = head(PATH, f"Content-Length: {len(picture)}", "Content-Type: image/png") + picture[:9]
    with connected(server.url) as a, connected(server.url) as b, connected(server.url) as c, connected(server.url) as d:
        for connection in (a, b, c, d):
            connection.sendall(start)
        time.sleep(0.3)
        response = server.post(picture)
        assert reason(response) == (429, "too_many_uploads") and response.headers["Retry-After"] == "1"
        a.sendall(picture[9:])
        assert answer(a)[0] == 200


def test_too_late(server: Running, picture: bytes) -> None:
    server.engine.may_answer = False
    begun = time.monotonic()
    assert reason(server.post(picture)) == (504, "timeout")
    assert 1.4 < time.monotonic() - begun < 10 and server.engine.cancelled == 1


def test_clients_that_go_away_are_dropped(server: Running, picture: bytes) -> None:
    server.engine.may_answer = False
    with connected(server.url) as connection:
        connection.sendall(head(PATH, f"Content-Length: {len(picture)}", "Content-Type: image/png") + picture)
        until(lambda: len(server.engine.jobs) == 1)
    begun = time.monotonic()
    until(lambda: server.engine.cancelled == 1)
    assert time.monotonic() - begun < 1.2  # and not by the limit of 1.5 seconds
    until(lambda: 'hrfamily_requests_total{model="street",status="499"} 1.0' in server.get("/metrics").text)


def test_before_models_are_loaded() -> None:
    with running(started=False) as server:
        assert server.get("/healthz").status_code == 200
        response = server.get("/readyz")
        assert reason(response) == (503, "starting") and response.headers["Retry-After"] == "1"
        assert reason(server.get("/v1/models")) == (503, "starting")
        assert reason(server.post(b"x")) == (503, "starting")
        server.engine.may_start.set()
        until(lambda: server.get("/readyz").ok)


def test_while_draining(server: Running, picture: bytes) -> None:
    server.engine.may_answer = False
    thread, results = in_background(lambda: server.post(picture))
    until(lambda: len(server.engine.jobs) == 1)
    server.app.state.service.drain()
    assert not server.app.state.service.is_idle
    assert reason(server.get("/readyz")) == (503, "draining") and server.get("/healthz").ok
    response = server.post(picture)
    assert reason(response) == (503, "draining") and response.headers["Connection"] == "close"
    server.engine.may_answer = True
    thread.join(10)
    assert results[0].status_code == 200 and server.app.state.service.is_idle


def test_the_key(picture: bytes) -> None:
    with running(api_key=KEY) as server:
        for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
            assert server.get(path).status_code == 200
        for headers in ({}, {"X-API-Key": KEY + "x"}, {"Authorization": "Bearer \xe9"}, {"Authorization": KEY}):
            for response in (server.get("/v1/models", headers=headers), server.get("/metrics", headers=headers)):
                assert reason(response) == (401, "no_key") and response.headers["WWW-Authenticate"] == "Bearer"
            assert reason(server.post(picture, **headers)) == (401, "no_key")
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert server.get("/v1/models", headers=headers).ok
            assert server.post(picture, **headers).ok


def test_models(server: Running) -> None:
    (model,) = server.get("/v1/models").json()["models"]
    assert model["name"] == "street" and model["backend"] == "paddle" and model["precision"] == "fp32"
    assert model["classes"] == [
        {"id": 0, "name": "road", "color": [1, 2, 3]},
        {"id": 1, "name": "car", "color": [4, 5, 6]},
    ]
    assert model["input_shape"] == [-1, 3, -1, -1] and model["batch"] == 4
    assert model["limits"]["pixels"] == 10_000 and model["limits"]["body_bytes"] == 200_000


def test_page_and_documentation_need_no_other_host(server: Running) -> None:
    response = server.get("/")
    assert response.content == application.PAGE.read_bytes()
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy
    docs = server.get("/docs")
    assert "http://" not in docs.text and "https://" not in docs.text
    for line in docs.text.split('"'):
        if line.startswith("/static"):
            assert server.get(line).status_code == 200
    schema = server.get("/openapi.json").json()
    assert "curl" in schema["info"]["description"]
    operation = schema["paths"]["/v1/models/{name}/segment"]["post"]
    assert {"413", "415", "422", "429", "503", "504"} <= set(operation["responses"])
    assert set(MEDIA_TYPES.values()) < set(operation["requestBody"]["content"])


def test_metrics(server: Running, picture: bytes) -> None:
    server.post(picture)
    server.post(b"")
    server.get("/nowhere")
    text = server.get("/metrics").text
    assert 'hrfamily_requests_total{model="street",status="200"} 1.0' in text
    assert 'hrfamily_requests_total{model="street",status="422"} 1.0' in text
    assert 'hrfamily_request_seconds_count{model="street"} 2.0' in text and "nowhere" not in text
    assert 'hrfamily_stage_seconds_sum{model="street",stage="run"} 0.005' in text
    assert 'hrfamily_queue_length{model="street"} 0.0' in text


def test_metrics_of_several_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a process that has died, counts are kept, and what it had in hand is not."""
    (tmp_path / "gauge_livesum_999999999.db").write_bytes(bytes(64))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    Metrics()
    assert not list(tmp_path.glob("gauge_live*_999999999.db"))


def test_each_request_has_a_line_and_a_number(
    server: Running, picture: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hrfamily", "hrfamily.access"):  # once configured for a server, they speak for themselves
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)

    def lines() -> list[str]:
        """Without the fixture's own question whether the server is ready: its line may come before or after."""
        written = [record.getMessage() for record in caplog.records if record.name == "hrfamily.access"]
        return [line for line in written if "/readyz" not in line]

    with caplog.at_level(logging.INFO, "hrfamily.access"):
        given = server.post(picture, **{"X-Request-ID": "abc-1"})
        own = server.get("/nowhere%0aforged", headers={"X-Request-ID": "with blanks"})
        until(lambda: len(lines()) == 2)
    assert given.headers["X-Request-ID"] == "abc-1" and len(own.headers["X-Request-ID"]) == 32
    assert "\n" not in "".join(lines())
    first, second = map(json.loads, lines())
    assert first["id"] == "abc-1" and first["model"] == "street" and first["status"] == 200 and first["bytes"] == 6
    assert second["path"] == "/nowhere\nforged" and second["status"] == 404 and "model" not in second
    assert given.headers["X-Content-Type-Options"] == "nosniff"


def test_what_is_not_http_is_refused_in_json(server: Running) -> None:
    with connected(server.url) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        status, body = answer(connection)
    assert status == 400 and json.loads(body)["error"]["reason"] == "bad_request"
