"""A server's script as a process of its own, with what signals, logs and memory of it there are to look at."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PATIENCE = 90.0  # seconds, for models to be loaded on a slow machine
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Server:
    """It, and the files that it writes to."""

    process: subprocess.Popen
    out: Path
    err: Path
    url: str = ""

    def workers(self) -> list[int]:
        """Processes that answer requests."""
        return children(self.process.pid)

    def family(self) -> list[int]:
        """All processes: the one above, workers, and those of networks."""
        found = [self.process.pid]
        for process in found:
            found += children(process)
        return found

    def is_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        return False


def children(parent: int) -> list[int]:
    """Of a process, those that live; the one that keeps track of shared memory is left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, above = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(above) == parent and state != "Z" and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)


def memory(processes: list[int]) -> int:
    """Bytes that they hold, those shared counted more than once."""
    return _PAGE * sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)


def until(condition: Callable[[], bool], what: str = "it") -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen")
        time.sleep(0.05)


def until_gone(processes: list[int]) -> None:
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes), f"the end of {processes}")


@contextlib.contextmanager
def started(*arguments: object, script: str = "serve.py", **environment: str) -> Iterator[Server]:
    """A server, ready. At its end it is told to stop, if it runs still."""
    command = [sys.executable, DEPLOY / script, *arguments, "--port", 0, "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                list(map(str, command)), env={**os.environ, **environment}, stdout=stdout, stderr=stderr
            )
        server = Server(process, out, err)
        try:
            until(lambda: " on http://" in out.read_text() or process.poll() is not None, "serving")
            assert process.poll() is None, err.read_text()
            server.url = out.read_text().split(" on ")[1].split()[0]
            until(lambda: server.is_ready() or process.poll() is not None, "being ready")
            assert process.poll() is None, err.read_text()
            yield server
        finally:
            process.terminate()
            process.wait(PATIENCE)
