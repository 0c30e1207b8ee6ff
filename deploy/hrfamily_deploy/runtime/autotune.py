"""Which runtime is the fastest for a network here: measured once, each in a process of its own, and written down.

python -m hrfamily_deploy.runtime.autotune  # such a process: it takes a question as JSON and answers in milliseconds
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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from hrfamily_deploy import bundle, modules
from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing
from hrfamily_deploy.image_processor import ImageProcessor
from hrfamily_deploy.runtime import backends, hardware, planning
from hrfamily_deploy.runtime.backends import Hardware
from hrfamily_deploy.runtime.options import Options, Size
from hrfamily_deploy.runtime.plan import Plan
from hrfamily_deploy.runtime.planning import RECORD, Times

_OPEN_SIZE = (512, 1024)  # height and width at which graphs of open size are measured
_ROUNDS = 7
_PATIENCE_S = 300  # for loading and all rounds
_MARK = "measured:"


class _Question(TypedDict):
    """What a measuring process is asked to load, and the size of the image that it is to run."""

    folder: str
    backend: str
    precision: str
    threads: int | None
    batch: int
    size: Size


def plan(network: Bundle, options: Options, here: Hardware, *, measure: bool = True) -> Plan:
    """The plan by which a network is run here: for backend "auto" by the times on record.

    Args:
        measure: take the times first, where there are none; else the plan says that they are missing.

    Raises:
        UserError: as `planning.make`.
    """
    made = planning.make(network, options, here)  # first of all: what cannot be is not measured
    able = planning.candidates(network, options, here)
    if not able:
        return made
    times = measured(network, options, here, able) if measure else recorded(network, options, here)
    return planning.make(network, options, here, times)


def recorded(network: Bundle, options: Options, here: Hardware) -> Times:
    """What was measured before, of this network and machine and these versions; else nothing."""
    return _known(_record(network, options)).get(_key(network, options, here), {})


def measured(network: Bundle, options: Options, here: Hardware, candidates: Iterable[str]) -> Times:
    """The record of these backends, after measuring where there is none; those that fail have infinite times."""
    candidates = sorted(candidates)

    def known() -> Times | None:
        found = recorded(network, options, here)
        return found if set(candidates) <= set(found) else None

    if (times := known()) is not None:
        return times
    record = _record(network, options)
    with _alone(record.parent):
        times = known()  # by now: workers of a server ask at the same time
        if times is None:
            times = _in_turns(network, options, candidates)
            _write(record, _key(network, options, here), times)
    return times


def size(network: Bundle, options: Options) -> Size:
    """(height, width) that is measured."""
    height, width = options.sizes[0] if options.sizes else _OPEN_SIZE
    fixed_height, fixed_width = network.input_shape[2:]
    return height if fixed_height == -1 else fixed_height, width if fixed_width == -1 else fixed_width


def _in_turns(network: Bundle, options: Options, backends: Sequence[str]) -> dict[str, float]:
    """Milliseconds of the quickest run of each, infinite where it fails. They take turns: machines are seldom quiet."""
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                _process(
                    {
                        "folder": str(network.description),
                        "backend": name,
                        "precision": options.precision,
                        "threads": options.threads,
                        "batch": options.batch,
                        "size": size(network, options),
                    }
                )
            )
            for name in backends
        }
        times = dict.fromkeys(backends, math.inf)
        for _ in range(_ROUNDS):
            for name, process in processes.items():
                times[name] = min(times[name], _one_run(process))
    return times


@contextlib.contextmanager
def _process(question: _Question) -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded the network and run it, and runs it again for each line that it is sent."""
    process = subprocess.Popen(
        modules.command("runtime.autotune", json.dumps(question)),
        env=modules.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    patience = threading.Timer(_PATIENCE_S, process.kill)
    patience.start()
    try:
        _line(process)
        yield process
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


def _one_run(process: subprocess.Popen[str]) -> float:
    try:
        print(file=process.stdin, flush=True)
        return float(_line(process))
    except (OSError, ValueError):  # it has ended
        return math.inf


def _line(process: subprocess.Popen[str]) -> str:
    """The next line that is meant for here, "" at the end; runtimes write lines of their own, too."""
    for line in process.stdout or ():
        if line.startswith(_MARK):
            return line[len(_MARK) :]
    return ""


def _answer(question: _Question) -> None:
    """Load and run the network, say so, and run it again for each line of the standard input."""
    network = bundle.read(question["folder"])
    options = Options(
        device="cpu",
        precision=question["precision"],
        threads=question["threads"],
        backend=question["backend"],
        batch=question["batch"],
    )
    made = planning.make(network, options, hardware.probe())
    runner = backends.load(made)
    noise = np.random.default_rng(0).integers(0, 256, (*question["size"], network.channels), np.uint8)
    batch = np.stack([ImageProcessor(network, threads=1).prepare(network.as_image(noise)).planes] * made.batch)
    runner.run(batch)
    print(_MARK, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        runner.run(batch)
        print(_MARK, (time.perf_counter() - start) * 1000, flush=True)


def _record(network: Bundle, options: Options) -> Path:
    return (options.cache or network.folder) / RECORD


def _key(network: Bundle, options: Options, here: Hardware) -> str:
    asked = [
        network.digest,
        network.onnx.stat().st_size if network.onnx else None,  # it may have been converted anew
        options.precision,
        options.threads or here.cores,
        options.batch,
        size(network, options),
    ]
    machine = [here.cpu_name, sorted(here.runtimes.items())]
    return hashlib.sha256(json.dumps([asked, machine]).encode()).hexdigest()[:16]


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
    with contextlib.suppress(UserError), replacing(file) as draft:
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
