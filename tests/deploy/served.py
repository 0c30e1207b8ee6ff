"""The address of a small server, for tests of what talks to it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

LIBRARIES = ("fastapi", "fastapi_offline", "multipart", "prometheus_client", "requests", "uvicorn")
KEY = "HRFAMILY_API_KEY"


@contextlib.contextmanager
def served(*arguments: object, key: str = "") -> Iterator[str]:
    """The address of a server that is ready. At the end it is told to stop, and has to."""
    for library in LIBRARIES:
        pytest.importorskip(library)
    from tests.deploy.server_process import started

    options = ("--threads", 1, "--sizes", "64x64")
    with started(*arguments, *options, **{KEY: key, "OMP_NUM_THREADS": "1"}) as server:
        yield server.url


@contextlib.contextmanager
def held_upload(url: str, model: str) -> Iterator[None]:
    """An image on its way that does not arrive: it takes one of the server's `--max-uploads`."""
    host, _, port = urlsplit(url).netloc.partition(":")
    head = f"POST /v1/models/{model}/segment HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"\xff\xd8")
        time.sleep(0.3)
        yield
