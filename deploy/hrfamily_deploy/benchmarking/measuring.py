"""Configurations in turn, at one size and batch: what each takes, and by how much the first is faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrfamily_deploy.benchmarking.configuration import Configuration
from hrfamily_deploy.benchmarking.worker import STAGES, Worker
from hrfamily_deploy.runtime.options import Size

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Measured:
    """One configuration at one size and batch.

    Attributes:
        state: as of `Worker.state`.
        seconds: stage -> one number for each counted run, of the whole batch.
    """

    configuration: Configuration
    size: Size
    batch: int
    state: dict[str, Any]
    seconds: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        plan = self.state["plan"]
        return f"{self.configuration.title} ({plan['backend']}, {plan['precision']})"

    @property
    def latency(self) -> np.ndarray:
        """Seconds from uint8 images to label maps of their size: all stages but decoding."""
        return np.sum([self.seconds[stage] for stage in STAGES if stage != "decode"], axis=0)

    @property
    def pictures_per_second(self) -> float:
        return self.batch / float(np.median(self.latency))


@dataclass(frozen=True)
class Ratio:
    """How many times as fast the first configuration is as another one: the median over pairs of runs.

    Attributes:
        low, high: the bootstrap's 95 % interval of that median.
        equal: share of pixels to which both give the same label.
    """

    first: Measured
    other: Measured
    median: float
    low: float
    high: float
    equal: float


def measure(
    configurations: Sequence[Configuration],
    files: Sequence[bytes],
    size: Size,
    batch: int,
    *,
    runs: int,
    warm_up: int,
    progress: Callable[[], object],
) -> tuple[list[Measured], list[Ratio]]:
    """Run the configurations in turn, each in its own process, one at a time. Each round begins with another one.

    Raises:
        UserError: one of them cannot be loaded or run.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(each, files, size, batch)) for each in configurations]
        rounds = [_round(workers, turn, progress) for turn in range(warm_up + runs)][warm_up:]
        states = [worker.state() for worker in workers]
        equal = _equal(workers, len(files), progress) if len(workers) > 1 else []
    measured = []
    for configuration, state, times in zip(configurations, states, zip(*rounds)):
        seconds = {stage: np.array([time[stage] for time in times]) for stage in STAGES}
        measured.append(Measured(configuration, size, batch, state, seconds))
    return measured, [_ratio(measured[0], other, share) for other, share in zip(measured[1:], equal)]


def steps(configurations: int, files: int, runs: int) -> int:
    """How often `measure` calls `progress`, of that many runs with those to warm up."""
    return configurations * (runs + files * (configurations > 1))


def _round(workers: Sequence[Worker], turn: int, progress: Callable[[], object]) -> list[dict[str, float]]:
    """Seconds of each stage for each worker; in odd turns the last one begins."""
    times = {}
    for worker in workers[:: -1 if turn % 2 else 1]:
        times[worker] = worker.run(turn)
        progress()
    return [times[worker] for worker in workers]


def _equal(workers: Sequence[Worker], files: int, progress: Callable[[], object]) -> list[float]:
    """For each worker but the first, the share of all pixels to which it gives the same label as the first."""
    same, pixels = np.zeros(len(workers)), 0
    for index in range(files):
        labels = []
        for worker in workers:
            labels.append(worker.label(index))
            progress()
        same += [np.count_nonzero(label == labels[0]) for label in labels]
        pixels += labels[0].size
    return (same[1:] / pixels).tolist()


def _ratio(first: Measured, other: Measured, equal: float) -> Ratio:
    ratios = other.latency / first.latency
    samples = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(samples, axis=1), [2.5, 97.5])
    return Ratio(first, other, float(np.median(ratios)), float(low), float(high), equal)
