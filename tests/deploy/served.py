"""serve.py as a process of its own, for tests of what talks to it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.deploy.conftest import DEPLOY

LIBRARIES = ("fastapi", "fastapi_offline", "multipart", "prometheus_client", "requests", "uvicorn")
KEY = "HRFAMILY_API_KEY"
_PATIENCE = 90.0  # seconds for models to be loaded


@contextlib.contextmanager
def served(*arguments: object, key: str = "") -> Iterator[str]:
    """The address of a server that is ready. At the end it is told to stop, and has to."""
    for library in LIBRARIES:
        pytest.importorskip(library)
    options = ["--port", 0, "--device", "cpu", "--threads", 1, "--sizes", "64x64"]
    command = [sys.executable, DEPLOY / "serve.py", *arguments, *options]
    environment = {**os.environ, KEY: key, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            server = subprocess.Popen(list(map(str, command)), env=environment, stdout=stdout, stderr=stderr)
        try:
            yield _ready(server, out, err)
        finally:
            server.terminate()
            server.wait(_PATIENCE)


def _ready(server: subprocess.Popen, out: Path, err: Path) -> str:
    import requests

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        url = next((line.split()[-1] for line in out.read_text().splitlines() if " on http://" in line), None)
        with contextlib.suppress(requests.RequestException):
            if url and requests.get(f"{url}/readyz", timeout=5).ok:
                return url
        time.sleep(0.1)
    raise AssertionError(f"no server: {err.read_text()}")


@contextlib.contextmanager
def held_upload(url: str, model: str) -> Iterator[None]:
    """A picture on its way that does not arrive: it takes one of the server's `--max-uploads`."""
    host, _, port = urlsplit(url).netloc.partition(":")
    head = f"POST /v1/models/{model}/segment HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"\xff\xd8")
        time.sleep(0.3)
        yield
