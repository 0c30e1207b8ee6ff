"""Which runtime is the fastest for a network here: measured once, each in a process of its own, and written down.

python deploy/fastest.py          # reads one question as JSON: a folder, options, a shape; answers in milliseconds
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import subprocess
import sys
import threading
import time
import zlib  # noqa: F401  Paddle 2.6 has functions of zlib's names, and the first to be loaded wins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pictures
from errors import UserError

if TYPE_CHECKING:
    from exported import Exported
    from machine import Machine
    from plan import Options

RECORD = "fastest.json"
_OPEN_SIZE = (512, 1024)  # height and width at which graphs of open size are measured
_ROUNDS = 7
_PATIENCE_S = 300  # for loading and all rounds
_MARK = "measured:"

Times = Mapping[str, float]  # backend -> milliseconds


def recorded(network: Exported, options: Options, machine: Machine) -> Times:
    """What was measured here before, of this network, machine and these versions; else nothing."""
    return _known(_record(network, options)).get(_key(network, options, machine), {})


def measured(network: Exported, options: Options, machine: Machine, candidates: Iterable[str]) -> Times:
    """The record of these backends, after measuring where there is none; those that fail have infinite times."""
    candidates = sorted(candidates)

    def known() -> Times | None:
        found = recorded(network, options, machine)
        return found if len(candidates) < 2 or set(candidates) <= set(found) else None

    if (times := known()) is not None:
        return times
    record = _record(network, options)
    with _alone(record.parent):
        times = known()  # by now: workers of a server ask at the same time
        if times is None:
            times = _in_turns(network, options, candidates)
            _write(record, _key(network, options, machine), times)
    return times


def size(network: Exported, options: Options) -> tuple[int, int]:
    """(height, width) that is measured."""
    given = options.sizes[0] if options.sizes else _OPEN_SIZE
    return tuple(fixed if fixed != -1 else open_one for fixed, open_one in zip(network.input_shape[2:], given))


def _in_turns(network: Exported, options: Options, backends: Sequence[str]) -> dict[str, float]:
    """Milliseconds of the quickest run of each, infinite where it fails. They take turns: machines are seldom quiet."""
    same = {"precision": options.precision, "threads": options.threads, "batch": options.batch}
    question = {"folder": str(network.description), "options": same, "size": size(network, options)}
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(_process({**question, "backend": name})) for name in backends}
        times = dict.fromkeys(backends, math.inf)
        for _ in range(_ROUNDS):
            for name, process in processes.items():
                times[name] = min(times[name], _one_run(process))
    return times


@contextlib.contextmanager
def _process(question: dict[str, Any]) -> Iterator[subprocess.Popen]:
    """A process that has loaded the network and run it, and runs it again for each line that it is sent."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen([sys.executable, __file__, json.dumps(question)], **pipes)
    patience = threading.Timer(_PATIENCE_S, process.kill)
    patience.start()
    try:
        _line(process)
        yield process
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


def _one_run(process: subprocess.Popen) -> float:
    try:
        print(file=process.stdin, flush=True)
        return float(_line(process))
    except (OSError, ValueError):  # it has ended
        return math.inf


def _line(process: subprocess.Popen) -> str:
    """The next line that is meant for here; runtimes have things to say, too."""
    for line in process.stdout:
        if line.startswith(_MARK):
            return line[len(_MARK) :]
    return ""


def _answer(question: dict[str, Any]) -> None:
    from predictor import Predictor

    predictor = Predictor(question["folder"], device="cpu", backend=question["backend"], **question["options"])
    noise = np.random.default_rng(0).integers(0, 256, (*question["size"], predictor.exported.channels), np.uint8)
    batch = [predictor.prepare(noise)] * predictor.plan()["batch"]
    predictor.run(batch)
    print(_MARK, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        predictor.run(batch)
        print(_MARK, (time.perf_counter() - start) * 1000, flush=True)


def _record(network: Exported, options: Options) -> Path:
    return (options.cache or network.folder) / RECORD


def _key(network: Exported, options: Options, machine: Machine) -> str:
    asked = [
        network.digest(),
        network.onnx.stat().st_size if network.onnx else None,  # it may have been converted anew
        options.precision,
        options.threads or machine.cores,
        options.batch,
        size(network, options),
    ]
    here = [machine.processor, sorted(machine.runtimes.items())]
    return hashlib.sha256(json.dumps([asked, here]).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process and thread at a time; where nothing can be locked (Windows, some network drives), all at once."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _write(file: Path, key: str, times: Times) -> None:
    """Add to the record; where it cannot be written, the next process measures again."""
    known = {**_known(file), key: times}
    content = {
        key: {name: None if time == math.inf else time for name, time in times.items()} for key, times in known.items()
    }
    with contextlib.suppress(UserError), pictures.replacing(file) as draft:
        draft.write_text(json.dumps(content, indent=1))


def _known(file: Path) -> dict[str, Times]:
    """The whole record; a missing or damaged one is empty."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return {
            key: {name: math.inf if time is None else float(time) for name, time in times.items()}
            for key, times in json.loads(file.read_text()).items()
        }
    return {}


if __name__ == "__main__":
    _answer(json.loads(sys.argv[1]))
