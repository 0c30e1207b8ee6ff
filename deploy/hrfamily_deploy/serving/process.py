"""A network in a process of its own. Its inputs and results pass through a pipe.

While Paddle runs a network, no other thread of its process goes on: in the server's own process nobody would be
answered meanwhile. And a runtime that crashes ends that process alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime.options import Size
from hrfamily_deploy.runtime.plan import Plan

_HUNG_SECONDS = 600  # longer than any batch takes, even where kernels are compiled for a new shape
_END_SECONDS = 5
_USUAL_SIZE = (512, 1024)  # height and width, where the graph leaves them open
_SPAWN = multiprocessing.get_context("spawn")  # what is forked has locks of threads that it has not


class NetworkDied(Exception):
    """The network's process is not there any more."""


class _Failed(NamedTuple):
    error: Exception


class NetworkProcess:
    """Loads a predictor in a process of its own, and warms it up. One thread at a time.

    Args:
        load: makes the predictor; it can be pickled.
        sizes: (height, width) of images to warm up with; None for one that the network surely takes.

    Attributes:
        bundle: of the predictor there.
        plan: how it is run.

    Raises:
        UserError: `load`'s.
        NetworkDied: it broke the process.
    """

    def __init__(self, load: Callable[[], Predictor], sizes: Sequence[Size] | None = None) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, load, sizes), name="network")
        self._process.start()
        theirs.close()  # so that its end shows as that of the pipe
        self.bundle: Bundle
        self.plan: Plan
        self.bundle, self.plan = self._received(None)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def run(self, batch: Sequence[Prepared]) -> list[np.ndarray]:
        """As `Predictor.run`.

        Raises:
            NetworkDied: the process did, of this batch or otherwise.
        """
        try:
            _send_arrays(self._pipe, [item.planes for item in batch])
        except OSError:
            raise NetworkDied from None
        results: list[np.ndarray] = self._received(_HUNG_SECONDS)
        return results

    def close(self) -> None:
        """End the process. It does so by itself when there is nothing more to read."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        self._process.kill()
        self._process.join()

    def _received(self, seconds: float | None) -> Any:
        """What the process sends next; one that is silent for so many seconds is killed."""
        try:
            if not self._pipe.poll(seconds):
                self._process.kill()
            answer = self._pipe.recv()
            if isinstance(answer, _Failed):
                raise answer.error
            return _receive_arrays(self._pipe, answer) if isinstance(answer, _Arrays) else answer
        except (EOFError, OSError):
            raise NetworkDied from None


def warm_up_size(model: Bundle) -> Size:
    """(height, width) of an image that this network surely takes."""
    padded = [entry["target_size"] for entry in model.transforms if entry["type"] == "Padding"]
    if padded:
        width, height = padded[0]
        return height, width
    height, width = (usual if fixed == -1 else fixed for fixed, usual in zip(model.input_shape[2:], _USUAL_SIZE))
    return height, width


class _Arrays(NamedTuple):
    """What announces arrays of one shape and type: pickling them would copy each twice."""

    number: int
    shape: tuple[int, ...]
    dtype: str


def _send_arrays(pipe: Connection, arrays: Sequence[np.ndarray]) -> None:
    pipe.send(_Arrays(len(arrays), arrays[0].shape, arrays[0].dtype.str))
    for array in arrays:
        pipe.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _receive_arrays(pipe: Connection, announced: _Arrays) -> list[np.ndarray]:
    arrays = [np.empty(announced.shape, announced.dtype) for _ in range(announced.number)]
    for array in arrays:
        pipe.recv_bytes_into(array.reshape(-1).view(np.uint8))
    return arrays


def _serve(pipe: Connection, load: Callable[[], Predictor], sizes: Sequence[Size] | None) -> None:
    """The work of the process. It ends when the pipe is closed, and not by a signal: the process that asks gets the
    same signals, and may still have images in hand."""
    _ignore_signals()
    with contextlib.suppress(EOFError, OSError):
        predictor = _answered(pipe, lambda: _warm(load(), sizes))
        if predictor is None:
            return
        _ignore_signals()  # Paddle took them while it was imported
        pipe.send((predictor.bundle, predictor.plan()))
        while True:
            planes = _receive_arrays(pipe, pipe.recv())
            results = _answered(pipe, lambda: predictor.run([Prepared(one, []) for one in planes]))  # noqa: B023
            if results is not None:
                _send_arrays(pipe, results)


def _answered(pipe: Connection, work: Callable[[], Any]) -> Any:
    """What `work` returns, or None after its error was sent instead."""
    try:
        return work()
    except UserError as error:
        pipe.send(_Failed(error))
    except Exception as error:  # of a runtime, which may have attributes that cannot be pickled
        pipe.send(_Failed(RuntimeError(f"{type(error).__name__}: {error}")))
    return None


def _warm(predictor: Predictor, sizes: Sequence[Size] | None) -> Predictor:
    for height, width in [warm_up_size(predictor.bundle)] if sizes is None else sizes:
        blank = np.zeros((height, width, predictor.bundle.channels), np.uint8)
        predictor.predict(predictor.bundle.as_image(blank))  # alone, and as a batch
        predictor.warm_up(height, width)
    return predictor


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
