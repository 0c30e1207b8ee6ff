"""The learning-rate range test (Smith, arXiv 1506.01186, section 3.3): the rate grows with every step.

Which rate is suggested is fastai's rule: where the smoothed loss falls the fastest against the rate's logarithm.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hrfamily_deploy.progress import progress
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import replacing, write_text
from paddle_hrfamily.training import memory
from paddle_hrfamily.training.step import Batch, Step

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
_SMOOTHING = 0.9
_DIVERGED = 4.0  # times the least smoothed loss
_LEFT_OUT = 0.1  # of the curve, at its beginning: the smoothed loss is still unsteady


@dataclass(frozen=True)
class Curve:
    """(steps,) each: learning rates, losses, smoothed losses."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    def suggestion(self) -> float:
        """The rate where the smoothed loss falls the fastest.

        Raises:
            UserError: it falls nowhere, or there are too few steps.
        """
        first = int(len(self.rates) * _LEFT_OUT)
        last = int(np.argmin(self.smoothed)) + 1
        if last - first < 3:
            raise UserError("--find_lr found no rate at which the loss falls; look at the curve, and at the data")
        slope = np.gradient(self.smoothed[first:last], np.log(self.rates[first:last]))
        return float(f"{self.rates[first + int(np.argmin(slope))]:.2g}")


def schedule(steps: int = STEPS, lowest: float = LOWEST, highest: float = HIGHEST) -> dict[str, Any]:
    """A config's `lr_scheduler` that grows from the lowest to the highest rate."""
    factor = (highest / lowest) ** (1 / max(1, steps - 1))
    return {"type": "LambdaDecay", "learning_rate": lowest, "lr_lambda": lambda step: factor**step}


def search(step: Step, batches: Iterator[Batch], parts: int, steps: int = STEPS) -> Curve:
    """Train by `schedule`, which the step's optimizer must have, until the loss diverges."""
    rates, losses, smoothed, average = [], [], [], 0.0
    for number in progress(range(1, steps + 1), "searching", steps, unit="iter", leave=False):
        rate = step.optimizer.get_lr()
        loss, _ = memory.guarded(step, list(islice(batches, parts)))
        if not math.isfinite(loss):
            break
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        rates.append(rate)
        losses.append(loss)
        smoothed.append(average / (1 - _SMOOTHING**number))
        if number > steps * _LEFT_OUT and smoothed[-1] > _DIVERGED * min(smoothed):
            break
    return Curve(*(np.array(values) for values in (rates, losses, smoothed)))


def write(curve: Curve, suggestion: float | None, folder: Path) -> tuple[Path, Path]:
    """The curve as lr_finder.csv and lr_finder.png in the folder, whose paths are returned. Raises UserError."""
    from matplotlib.figure import Figure

    table, picture = folder / "lr_finder.csv", folder / "lr_finder.png"
    rows = zip(curve.rates, curve.losses, curve.smoothed)
    write_text(table, "learning_rate,loss,smoothed\n" + "".join(f"{r:.8g},{a:.6g},{b:.6g}\n" for r, a, b in rows))
    axes = (figure := Figure(figsize=(7, 4.5), layout="constrained")).add_subplot()
    axes.semilogx(curve.rates, curve.losses, color="0.8", label="loss")
    axes.semilogx(curve.rates, curve.smoothed, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:red", linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set(xlabel="learning rate", ylabel="loss")
    axes.set_ylim(0.9 * curve.smoothed.min(), 1.1 * max(curve.smoothed[0], np.percentile(curve.smoothed, 90)))
    axes.legend()
    with replacing(picture) as draft:
        figure.savefig(draft, format="png", dpi=120)
    return table, picture


def read(path: Path) -> Curve:
    """What `write` has written as CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [[float(row[key]) for key in ("learning_rate", "loss", "smoothed")] for row in csv.DictReader(file)]
    return Curve(*np.array(rows).T)
