"""Metrics for Prometheus. With PROMETHEUS_MULTIPROC_DIR set, each process reports those of all processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """What one application counts and measures, by the name of the model."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        model = ["model"]
        self._requests = Counter("hrfamily_requests", "Requests answered", ["model", "status"], registry=own)
        self._seconds = Histogram(
            "hrfamily_request_seconds",
            "From a request's head to the end of its answer",
            model,
            buckets=_SECONDS,
            registry=own,
        )
        self._stages = Histogram(
            "hrfamily_stage_seconds",
            "Of requests answered with 200",
            ["model", "stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self._queue = Gauge(
            "hrfamily_queue_length", "Requests in hand", model, registry=own, multiprocess_mode="livesum"
        )
        self._batches = Histogram("hrfamily_batch_size", "Images run at a time", model, buckets=_SIZES, registry=own)
        if FOLDER in os.environ:
            _remove_dead_gauges(Path(os.environ[FOLDER]))

    def batch(self, model: str, size: int) -> None:
        """Count a batch of so many images."""
        self._batches.labels(model).observe(size)

    def queue(self, model: str, length: int) -> None:
        """Note that so many requests are in hand now."""
        self._queue.labels(model).set(length)

    def request(self, model: str, status: int, seconds: float) -> None:
        self._requests.labels(model, status).inc()
        self._seconds.labels(model).observe(seconds)

    def stages(self, model: str, milliseconds: Mapping[str, float]) -> None:
        for stage, value in milliseconds.items():
            self._stages.labels(model, stage).observe(value / 1000)

    def text(self) -> bytes:
        """All of it in Prometheus's format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(everyone)


def _remove_dead_gauges(folder: Path) -> None:
    """Remove the gauges of processes that were killed: the requests that they had in hand are gone."""
    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            mark_process_dead(process, str(folder))
