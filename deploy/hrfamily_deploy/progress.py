"""Progress bars: one that moves on a terminal, a few plain lines in a log.

    for image in progress(images, "segmenting", unit="image"):
        …

Lines that are written meanwhile go through `say`, so that they do not run into a bar.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sized
from functools import partial
from typing import TextIO, TypeVar, cast

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0
_LINE = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
T = TypeVar("T")


def progress(
    iterable: Iterable[T] | None = None,
    description: str = "",
    total: int | None = None,
    *,
    unit: str = "image",
    leave: bool = True,
    disable: bool = False,
    delay: float = 0.0,
    initial: int = 0,
    unit_scale: bool = False,
) -> tqdm[T]:
    """A tqdm over `iterable`, or one to be moved by `update()`. It writes to the error output.

    Where that is no terminal, a line is written when a further tenth is done, or any step where the total is unknown,
    but none within 30 seconds of the last: a short job writes nothing.

    Args:
        total: how many steps there are; the iterable's length if None.
        leave: keep the bar, or write a last line, at the end.
        disable: write nothing at all.
        delay: seconds before the bar is shown.
        initial: steps that are done already.
        unit_scale: write steps as 1.5k or 2M.
    """
    items = cast("Iterable[T]", iterable)  # None is as good: the types of tqdm have two cases, and this is either
    bar = partial(
        tqdm, items, description, total, unit=unit, leave=leave, disable=disable, initial=initial, unit_scale=unit_scale
    )
    if sys.stderr.isatty():
        return bar(delay=delay)
    steps = total if total is not None else len(iterable) if isinstance(iterable, Sized) else 0
    return bar(
        file=_Lines(sys.stderr),
        delay=max(delay, SECONDS_BETWEEN_LINES, 1e-9),  # tqdm draws an empty bar at once where there is no delay
        mininterval=SECONDS_BETWEEN_LINES,
        maxinterval=math.inf,  # else tqdm's own thread draws in between
        miniters=max(1, steps // 10),
        bar_format=_LINE,
        position=0,
    )


def say(text: str, file: TextIO | None = None) -> None:
    """Write a line above the bars, to the error output unless `file` is another stream."""
    tqdm.write(text, file=sys.stderr if file is None else file)


class _Lines:
    """A stream for tqdm that makes a line of each drawing, unless it shows the same step as the one before.

    tqdm redraws the bars of the standard streams after each line that `say` writes, and not those of another stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._step = ""

    def write(self, text: str) -> None:
        for line in filter(str.strip, re.split(r"[\r\n]", text)):
            step = line.partition("[")[0]
            if step != self._step:
                self._stream.write(f"{line.rstrip()}\n")
            self._step = step

    def flush(self) -> None:
        self._stream.flush()
