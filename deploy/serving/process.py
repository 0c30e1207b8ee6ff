"""A network in a process of its own, whose inputs and results pass through a pipe.

Paddle's `run` lets no other thread of its process go on, so that beside it nobody would be answered. And what breaks a
runtime altogether breaks that process alone.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np
from errors import UserError
from predictor import Predictor
from preprocess import Prepared

_HUNG_SECONDS = 600  # longer than any batch takes, even where kernels are compiled for a new shape
_END_SECONDS = 5
_SPAWN = multiprocessing.get_context("spawn")  # what is forked has locks of threads that it has not
Size = tuple[int, int]


# What a predictor has beside its network, and cannot be sent, is made anew by the one who gets it.
ForkingPickler.register(type(threading.Lock()), lambda lock: (threading.Lock, ()))
ForkingPickler.register(ThreadPoolExecutor, lambda pool: (ThreadPoolExecutor, (pool._max_workers,)))


class Died(Exception):
    """The process is not there any more."""


class _Failed(NamedTuple):
    error: Exception


class NetworkProcess:
    """Loads and warms up a predictor there. One thread at a time.

    Args:
        load: makes the predictor; it can be pickled.
        sizes: (height, width) of pictures to warm up with.

    Attributes:
        ends: the predictor without its network, for all but `run`.

    Raises:
        UserError: `load`'s.
        Died: it broke the process.
    """

    def __init__(self, load: Callable[[], Predictor], sizes: Sequence[Size]) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, load, sizes), name="network")
        self._process.start()
        theirs.close()  # so that its end shows as that of the pipe
        self.ends: Predictor = self._received(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def run(self, batch: Sequence[Prepared]) -> list[np.ndarray]:
        """As `Predictor.run`.

        Raises:
            Died: the process did, of this batch or otherwise.
        """
        try:
            _send_arrays(self._pipe, [item.planes for item in batch])
        except OSError:
            raise Died from None
        return self._received(_HUNG_SECONDS)

    def close(self) -> None:
        """It ends when there is nothing more to read."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        self._process.kill()
        self._process.join()

    def _received(self, seconds: float | None) -> Any:
        try:
            if not self._pipe.poll(seconds):
                self._process.kill()
            answer = self._pipe.recv()
            if isinstance(answer, _Failed):
                raise answer.error
            return _receive_arrays(self._pipe, answer) if isinstance(answer, _Arrays) else answer
        except (EOFError, OSError):
            raise Died from None


class _Arrays(NamedTuple):
    """What announces arrays of one shape and type: pickling them would copy each twice."""

    count: int
    shape: tuple[int, ...]
    dtype: str


def _send_arrays(pipe: Connection, arrays: Sequence[np.ndarray]) -> None:
    pipe.send(_Arrays(len(arrays), arrays[0].shape, arrays[0].dtype.str))
    for array in arrays:
        pipe.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _receive_arrays(pipe: Connection, announced: _Arrays) -> list[np.ndarray]:
    arrays = [np.empty(announced.shape, announced.dtype) for _ in range(announced.count)]
    for array in arrays:
        pipe.recv_bytes_into(array.reshape(-1).view(np.uint8))
    return arrays


def _serve(pipe: Connection, load: Callable[[], Predictor], sizes: Sequence[Size]) -> None:
    """The process's work: it ends with the one that it answers, whatever signals the two of them get together."""
    _ignore_signals()
    with contextlib.suppress(EOFError, OSError):
        predictor = _answered(pipe, lambda: _warm(load(), sizes))
        if predictor is None:
            return
        _ignore_signals()  # Paddle took them while it was imported
        pipe.send(_ends_of(predictor))
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


def _warm(predictor: Predictor, sizes: Sequence[Size]) -> Predictor:
    for height, width in sizes:
        predictor.predict(np.zeros((height, width, predictor.exported.channels), np.uint8))  # alone, and as a batch
        predictor.warm_up(height, width)
    return predictor


def _ends_of(predictor: Predictor) -> Predictor:
    ends = copy.copy(predictor)
    ends._backend = None
    return ends


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
