"""PaddleSeg's progress bar, as a few plain lines where the error output is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hrfamily_deploy.progress import progress
from paddle_hrfamily.patching import wrap

if TYPE_CHECKING:
    from paddleseg.utils.progbar import Progbar


def lines_in_a_log() -> None:
    """PaddleSeg redraws its bar at every image, with backspaces, into a file as well."""
    from paddleseg.utils.progbar import Progbar

    wrap(Progbar, "update", _by_lines)


def _by_lines(update: Callable) -> Callable:
    def updated(
        self: Progbar, current: int, values: Sequence[tuple[str, float]] | None = None, finalize: bool | None = None
    ) -> None:
        if sys.stderr.isatty():
            update(self, current, values, finalize)
            return
        if not hasattr(self, "lines"):
            self.lines = progress(description="done", total=self.target)
        self.lines.update(current - self.lines.n)
        if self.target is not None and current >= self.target:
            self.lines.close()

    return updated
