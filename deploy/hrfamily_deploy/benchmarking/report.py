"""What was measured, as tables in Markdown and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import cv2
import numpy as np

from hrfamily_deploy.benchmarking.measuring import Measured, Ratio
from hrfamily_deploy.benchmarking.worker import STAGES
from hrfamily_deploy.runtime import hardware


@dataclass(frozen=True)
class Report:
    """All rows and ratios, and how they were measured.

    Attributes:
        machine: CPU, cores, memory, system, and versions.
        method: runs, warm-up and images.
    """

    machine: dict[str, Any]
    method: dict[str, Any]
    rows: Sequence[Measured]
    ratios: Sequence[Ratio]

    def markdown(self) -> str:
        return "\n\n".join(filter(None, [self._heading(), self._table(), self._ratio_table(), self._notes()])) + "\n"

    def json(self) -> dict[str, Any]:
        """Numbers of this table and every single run, in milliseconds and MiB."""
        return {
            "machine": self.machine,
            "method": self.method,
            "measurements": [_measurement(row) for row in self.rows],
            "ratios": [_ratio(ratio) for ratio in self.ratios],
        }

    def _heading(self) -> str:
        found, method = self.machine, self.method
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        return (
            f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB, {found['system']}; {versions}.\n"
            f"{method['runs']} runs after {method['warm_up']} to warm up, {method['pictures']}. ms a batch from uint8 "
            "images to label maps of their size, without decoding; of each stage the median."
        )

    def _table(self) -> str:
        on_gpu = any("gpu_memory_mib" in row.state for row in self.rows)
        head = ["network", "size", "batch", "min", "median", "p99", "images/s", *STAGES, "peak MiB"]
        return _table([*head, *["GPU MiB"] * on_gpu], (_cells(row, on_gpu) for row in self.rows))

    def _ratio_table(self) -> str:
        rows = (
            [
                ratio.first.title,
                ratio.other.title,
                _size(ratio.first),
                str(ratio.first.batch),
                f"{ratio.median:.3f}",
                f"{ratio.low:.3f} to {ratio.high:.3f}",
                f"{ratio.equal:.4%}",
            ]
            for ratio in self.ratios
        )
        head = ["network", "compared with", "size", "batch", "times as fast", "95 % interval", "equal pixels"]
        return _table(head, rows) if self.ratios else ""

    def _notes(self) -> str:
        notes = {
            f"- {row.configuration.title}: {note}": None for row in self.rows for note in row.state["plan"]["notes"]
        }
        return "\n".join(notes)


def describe_machine() -> dict[str, Any]:
    """What the figures depend on: CPU, cores, memory, system, GPUs, and versions."""
    found = hardware.probe()
    versions = {"python": platform.python_version(), **found.runtimes}
    versions |= {"numpy": metadata.version("numpy"), "opencv": cv2.__version__}
    return {
        "processor": found.cpu_name or platform.processor() or platform.machine(),
        "cores": found.cores,
        "memory_gib": _memory_gib(),
        "system": platform.platform(terse=True),
        "gpus": [gpu.name for gpu in found.gpus],
        "versions": versions,
    }


def summary(row: Measured) -> dict[str, float]:
    """Least, median and 99th percentile of the latency, in milliseconds."""
    low, middle, high = np.percentile(row.latency * 1e3, [0, 50, 99])
    return {"min": float(low), "median": float(middle), "p99": float(high)}


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _cells(row: Measured, on_gpu: bool) -> list[str]:
    stages = (float(np.median(row.seconds[stage])) * 1e3 for stage in STAGES)
    latency = [*summary(row).values()]
    gpu = [f"{row.state['gpu_memory_mib']:.0f}" if "gpu_memory_mib" in row.state else ""] * on_gpu
    return [
        row.title,
        _size(row),
        str(row.batch),
        *(f"{value:.1f}" for value in latency),
        f"{row.pictures_per_second:.2f}",
        *(f"{value:.1f}" for value in stages),
        f"{row.state['memory_mib']:.0f}",
        *gpu,
    ]


def _size(row: Measured) -> str:
    return "x".join(map(str, row.size))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _measurement(row: Measured) -> dict[str, Any]:
    return {
        "title": row.title,
        "folder": str(row.configuration.folder),
        "size": list(row.size),
        "batch": row.batch,
        **summary(row),
        "pictures_per_second": row.pictures_per_second,
        "stages": {stage: float(np.median(values)) * 1e3 for stage, values in row.seconds.items()},
        "runs": {stage: [round(value * 1e3, 4) for value in values] for stage, values in row.seconds.items()},
        **row.state,
    }


def _ratio(ratio: Ratio) -> dict[str, Any]:
    return {
        "network": ratio.first.title,
        "compared_with": ratio.other.title,
        "size": list(ratio.first.size),
        "batch": ratio.first.batch,
        "times_as_fast": ratio.median,
        "interval_95": [ratio.low, ratio.high],
        "equal_pixels": ratio.equal,
    }
