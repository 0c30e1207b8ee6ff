"""An image of latency against resolution and against batch; matplotlib is needed for this alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrfamily_deploy.benchmarking.measuring import Measured
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
Number = Callable[[Measured], float]


def check(path: Path) -> None:
    """Raises UserError if no such file can be drawn here: better before an hour of runs than after."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: the name must end in {', '.join(SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib: pip install 'paddle_hrfamily[benchmark]', or pip install matplotlib")


def write(path: Path, rows: Sequence[Measured]) -> None:
    """Draw what varies: one panel over the pixels of an image, one over the images of a batch, or either."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    by_size, by_batch = len({row.size for row in rows}) > 1, len({row.batch for row in rows}) > 1
    figure = Figure(figsize=(6.4 * (1 + (by_size and by_batch)), 4.8), layout="constrained")
    panels = list(np.ravel(figure.subplots(1, 1 + (by_size and by_batch))))
    if by_size or not by_batch:
        panel = panels.pop(0)
        _curves(panel, rows, _megapixels, lambda row: row.batch, lambda row: f"batch {row.batch}")
        panel.set_xlabel("megapixels an image")
    if by_batch:
        _curves(panels[0], rows, lambda row: row.batch, _megapixels, lambda row: "x".join(map(str, row.size)))
        panels[0].set_xlabel("images a batch")
        panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(path) as draft:
        figure.savefig(draft, dpi=150)


def _megapixels(row: Measured) -> float:
    return row.size[0] * row.size[1] / 1e6


def _curves(panel: Axes, rows: Iterable[Measured], x: Number, kind: Number, name: Callable[[Measured], str]) -> None:
    """A line of medians for each configuration and kind, in a band from quartile to quartile."""

    def line(row: Measured) -> tuple[str, float]:
        return row.title, kind(row)

    for _, group in groupby(sorted(rows, key=line), line):
        points = sorted(group, key=x)
        places = [x(row) for row in points]
        low, middle, high = np.transpose([np.percentile(row.latency * 1e3, [25, 50, 75]) for row in points])
        (drawn,) = panel.plot(places, middle, marker="o", label=f"{points[0].title}, {name(points[0])}")
        panel.fill_between(places, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    panel.set(xlim=(0, None), ylim=(0, None), ylabel="ms a batch")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
