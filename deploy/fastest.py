"""Which runtime is the fastest for a network here: measured once, each in a process of its own, and written down.

python deploy/fastest.py          # reads one question as JSON: a folder, options, a shape; answers in milliseconds
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
import zlib  # noqa: F401  Paddle 2.6 has functions of zlib's names, and the first to be loaded wins
from collections.abc import Iterable, Mapping
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
_RUNS, _WARM_UP = 5, 2
_PATIENCE_S = 300

Times = Mapping[str, float]  # backend -> milliseconds


def recorded(network: Exported, options: Options, machine: Machine) -> Times:
    """What was measured here before, of this network, machine and these versions; else nothing."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(_record(network, options).read_text()).get(_key(network, options, machine), {})
    return {}


def measured(network: Exported, options: Options, machine: Machine, candidates: Iterable[str]) -> Times:
    """The record of these backends, after measuring where there is none; those that fail are left out."""
    candidates = sorted(candidates)
    found = recorded(network, options, machine)
    if len(candidates) < 2 or set(candidates) <= set(found):
        return found
    times = {name: _asked(network, options, name) for name in candidates}
    _write(_record(network, options), _key(network, options, machine), times)
    return times


def size(network: Exported, options: Options) -> tuple[int, int]:
    """(height, width) that is measured."""
    given = options.sizes[0] if options.sizes else _OPEN_SIZE
    return tuple(fixed if fixed != -1 else open_one for fixed, open_one in zip(network.input_shape[2:], given))


def _asked(network: Exported, options: Options, backend: str) -> float:
    """Milliseconds of one run, infinite where it fails."""
    question = {
        "folder": str(network.description),
        "options": {
            "device": "cpu",
            "precision": options.precision,
            "threads": options.threads,
            "batch": options.batch,
        },
        "backend": backend,
        "size": size(network, options),
    }
    command = [sys.executable, __file__]
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError, IndexError):
        done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, timeout=_PATIENCE_S)
        return float(done.stdout.split()[-1])
    return float("inf")


def _answer(question: dict[str, Any]) -> float:
    from predictor import Predictor

    predictor = Predictor(question["folder"], backend=question["backend"], **question["options"])
    noise = np.random.default_rng(0).integers(0, 256, (*question["size"], predictor.exported.channels), np.uint8)
    batch = [predictor.prepare(noise)] * predictor.plan()["batch"]
    times = []
    for _ in range(_WARM_UP + _RUNS):
        start = time.perf_counter()
        predictor.run(batch)
        times.append(time.perf_counter() - start)
    return min(times[_WARM_UP:]) * 1000


def _record(network: Exported, options: Options) -> Path:
    return (options.cache or network.folder) / RECORD


def _key(network: Exported, options: Options, machine: Machine) -> str:
    asked = [
        network.digest(),
        options.precision,
        options.threads or machine.cores,
        options.batch,
        size(network, options),
    ]
    here = [machine.processor, sorted(machine.runtimes.items())]
    return hashlib.sha256(json.dumps([asked, here]).encode()).hexdigest()[:16]


def _write(file: Path, key: str, times: Times) -> None:
    """Add to the record; where it cannot be written, the next process measures again."""
    known = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(file.read_text())
    with contextlib.suppress(UserError), pictures.replacing(file) as draft:
        draft.write_text(json.dumps({**known, key: times}, indent=1))


if __name__ == "__main__":
    print(_answer(json.load(sys.stdin)))
