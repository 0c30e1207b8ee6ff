"""PaddleSeg's progress bar, as ours: below another one on a terminal, and as a few plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hrfamily_deploy.progress import progress
from paddle_hrfamily.patching import wrap

if TYPE_CHECKING:
    from paddleseg.utils.progbar import Progbar


def lines_in_a_log() -> None:
    """PaddleSeg redraws its bar at every image, with backspaces, into a file as well, and over a bar of training."""
    from paddleseg.utils.progbar import Progbar

    wrap(Progbar, "update", _as_ours)


def _as_ours(update: Callable) -> Callable:
    def updated(
        self: Progbar, current: int, values: Sequence[tuple[str, float]] | None = None, finalize: bool | None = None
    ) -> None:
        if not hasattr(self, "bar"):
            self.bar = progress(description="evaluating", total=self.target, leave=not sys.stderr.isatty())
        self.bar.update(current - self.bar.n)
        if self.target is not None and current >= self.target:
            self.bar.close()

    return updated
