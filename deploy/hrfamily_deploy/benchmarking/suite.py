"""Configurations at every size and every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hrfamily_deploy.benchmarking import frames
from hrfamily_deploy.benchmarking.configuration import Configuration
from hrfamily_deploy.benchmarking.measuring import Measured, Ratio, measure, steps
from hrfamily_deploy.progress import progress
from hrfamily_deploy.runtime.options import Size

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass(frozen=True)
class Suite:
    """What is measured.

    Attributes:
        sizes: (height, width) of the images.
        batches: images at a time.
        runs: that count.
        warm_up: runs before them.
        frames: how many random images are made where there are no real ones.
    """

    sizes: Sequence[Size]
    batches: Sequence[int]
    runs: int
    warm_up: int
    frames: int


def measure_all(
    configurations: Sequence[Configuration], files: Sequence[bytes], suite: Suite
) -> tuple[list[Measured], list[Ratio]]:
    """A row for each configuration, size and batch, and a ratio for each configuration but the first.

    Args:
        files: real images; where there are none, random ones.

    Raises:
        UserError: a configuration cannot be loaded or run.
    """
    rows: list[Measured] = []
    ratios: list[Ratio] = []
    each = steps(len(configurations), len(files) or suite.frames, suite.warm_up + suite.runs)
    total = len(suite.sizes) * len(suite.batches) * each
    bar: tqdm[None] = progress(description="benchmark", total=total, unit="run")
    with bar:
        for size in suite.sizes:
            sized = [frames.at_size(data, size) for data in files] or frames.random(size, suite.frames)
            for batch in suite.batches:
                bar.set_postfix_str(f"{size[0]}x{size[1]}, batch {batch}", refresh=False)
                found = measure(
                    configurations, sized, size, batch, runs=suite.runs, warm_up=suite.warm_up, progress=bar.update
                )
                rows += found[0]
                ratios += found[1]
    return rows, ratios
