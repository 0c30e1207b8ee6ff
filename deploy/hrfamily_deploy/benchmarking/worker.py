"""One configuration in a process of its own. It runs when it is told to, and rests while another one runs.

So its memory is measured alone, its runtime's threads do not compete with another runtime's, and a crash ends nothing
else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from hrfamily_deploy import cpu
from hrfamily_deploy.benchmarking.configuration import Configuration
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime.options import Size

STAGES = ("decode", "preprocess", "run", "postprocess")
_QUIET, _IDLE = 0.02, 0.002  # seconds watched, and of the CPU that a process at rest may still use in them
_LONGEST_WAIT = 1.0


class Worker:
    """A loaded configuration, for the process that asks it to run. Close it, or use it in a `with`.

    Raises:
        UserError: it cannot be loaded or run; the message has the reason, or says that the process has died.
    """

    def __init__(self, configuration: Configuration, files: Sequence[bytes], size: Size, batch: int) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._title = configuration.title
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs, configuration, files, size, batch), daemon=True)
        with _uninterrupted():
            self._process.start()
        theirs.close()
        self._answer()

    def run(self, turn: int) -> dict[str, float]:
        """Seconds of each stage of one batch; every turn has its own frames."""
        return self._ask("run", turn)

    def label(self, index: int) -> np.ndarray:
        """The label map of that frame."""
        return self._ask("label", index)

    def state(self) -> dict[str, Any]:
        """The plan it runs by, seconds that loading took, and the most memory that it has held, in MiB."""
        return self._ask("state")

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, what: str, *arguments: object) -> Any:
        self._connection.send((what, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            problem, answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise UserError(f"{self._title}: its process died ({_ending(self._process.exitcode)})") from None
        if problem:
            self.close()
            raise UserError(f"{self._title}: {problem}")
        return answer


class _Bench:
    """The loaded configuration itself, in the process of a `Worker`."""

    def __init__(self, configuration: Configuration, files: Sequence[bytes], size: Size, batch: int) -> None:
        begin = time.perf_counter()
        self._predictor = Predictor(configuration.folder, **vars(configuration.options(batch, [size])))
        self._load_seconds = time.perf_counter() - begin
        self._files, self._batch = files, batch

    def run(self, turn: int) -> dict[str, float]:
        first = turn * self._batch
        files = [self._files[(first + index) % len(self._files)] for index in range(self._batch)]
        clock = [time.perf_counter()]
        bundle = self._predictor.bundle
        images = [image_files.decode(data, bundle.channels, bundle.image_dtype) for data in files]
        clock.append(time.perf_counter())
        items = [self._predictor.prepare(image) for image in images]
        clock.append(time.perf_counter())
        results = self._predictor.run(items)
        clock.append(time.perf_counter())
        for result, item in zip(results, items):
            self._predictor.answer(result, item)
        clock.append(time.perf_counter())
        return dict(zip(STAGES, np.diff(clock).tolist()))

    def label(self, index: int) -> np.ndarray:
        return self._predictor.predict(self._files[index])[0]

    def state(self) -> dict[str, Any]:
        plan = self._predictor.plan()
        held = {"memory_mib": _peak_memory() / 2**20}
        if plan.gpu is not None and plan.backend == "paddle":
            import paddle

            held["gpu_memory_mib"] = paddle.device.cuda.max_memory_allocated(plan.device) / 2**20
        return {"plan": plan.to_json(), "load_seconds": self._load_seconds, **held}


def _serve(connection: Connection, configuration: Configuration, *arguments: Any) -> None:
    try:
        _pin(configuration.threads)
        bench = _Bench(configuration, *arguments)
        connection.send((None, None))
        while True:
            what, given = connection.recv()
            answer = getattr(bench, what)(*given)
            _come_to_rest()
            connection.send((None, answer))
    except (EOFError, ConnectionError):  # no more questions
        pass
    except Exception as error:  # of any runtime, whatever its kind
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        connection.send((" ".join(reason.split()), None))


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started within this ignore Ctrl-C: this process ends them. In this process an interruption
    waits for the end of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # for it would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pin(threads: int) -> None:
    """Bind the process to that many physical cores, the same ones for every configuration: no thread moves, and none
    shares a core."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = cpu.one_of_each_core()
    if threads <= len(cores):
        os.sched_setaffinity(0, cores[:threads])


def _come_to_rest() -> None:
    """Wait until the runtime's threads sleep; after a run they look for more work for a while."""
    end = time.perf_counter() + _LONGEST_WAIT
    while time.perf_counter() < end:
        before = time.process_time()  # of all threads
        time.sleep(_QUIET)
        if time.process_time() - before < _IDLE:
            return


def _peak_memory() -> int:
    """The most memory that this process has held, in bytes. `getrusage` would include the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) << 10
    except (OSError, StopIteration):  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"{name}, perhaps of too little memory" if name == "SIGKILL" else name
