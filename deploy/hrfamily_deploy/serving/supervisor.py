"""The main process: it binds the address, starts the workers, replaces those that die, and ends them in time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from hrfamily_deploy.serving import address, worker
from hrfamily_deploy.serving.metrics import FOLDER
from hrfamily_deploy.serving.settings import Settings

log = logging.getLogger("hrfamily")
_LOOK_SECONDS = 0.2
_PAUSE = 0.5  # before a process that died is replaced: if it died at once, this would be a busy loop
_SPAWN = multiprocessing.get_context("spawn")  # what is forked has locks of threads that it has not


def serve(settings: Settings, host: str, port: int, workers: int) -> int:
    """Serve until a signal comes. Returns the exit status: 0, 1 if a worker had to be killed, 2 if loading failed.

    Raises:
        UserError: the address cannot be bound.
    """
    listener = address.bind(host, port)
    with tempfile.TemporaryDirectory(prefix="hrfamily-metrics-") as folder:
        os.environ[FOLDER] = folder
        worker.configure_logging()
        supervisor = Supervisor(settings, listener, workers)
        address.announce(settings.folders, host, listener.getsockname()[1])
        return supervisor.run()


class Supervisor:
    """Keeps that many workers running until a signal comes. A second signal ends them at once."""

    def __init__(self, settings: Settings, listener: socket.socket, workers: int) -> None:
        self._settings, self._listener = settings, listener
        self._signals = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._told)
        self._workers = [self._started(loads_first=number > 0) for number in range(workers)]

    def run(self) -> int:
        """Returns the exit status."""
        failed = False
        while not (failed or self._signals):
            wait([process.sentinel for process in self._workers], _LOOK_SECONDS)
            if not self._signals:
                self._workers = [self._living(process) for process in self._workers]
            failed = any(process.exitcode == worker.LOADING_FAILED for process in self._workers)
        broken_off = self._end()
        return 2 if failed else int(broken_off)

    def _told(self, *_: object) -> None:
        self._signals += 1

    def _started(self, loads_first: bool) -> BaseProcess:
        """Start a worker.

        Args:
            loads_first: it takes no connections until its models are loaded. The first worker takes them at once, so
                that clients are told that the models are being loaded.
        """
        arguments = (self._settings, self._listener, loads_first)
        process = _SPAWN.Process(target=worker.work, args=arguments, name="worker")
        process.start()
        return process

    def _living(self, process: BaseProcess) -> BaseProcess:
        if process.is_alive() or process.exitcode == worker.LOADING_FAILED:
            return process
        log.error("process %d died (%s) and is replaced", process.pid, process.exitcode)
        time.sleep(_PAUSE)
        return self._started(loads_first=len(self._workers) > 1)

    def _end(self) -> bool:
        """End all workers. Returns whether some had to be killed."""
        self._listener.close()  # the address is free when the last worker has closed it, too
        for process in self._workers:
            process.terminate()
        until = time.monotonic() + self._settings.drain_seconds
        while any(process.is_alive() for process in self._workers) and time.monotonic() < until and self._signals < 2:
            wait([process.sentinel for process in self._workers if process.is_alive()], _LOOK_SECONDS)
        left = [process for process in self._workers if process.is_alive()]
        for process in left:
            process.kill()
        for process in self._workers:
            process.join()
        return bool(left)
