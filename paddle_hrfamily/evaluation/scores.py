"""What every evaluation returns."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """What `hrfamily val` needs of an evaluation's report."""

    def to_json(self) -> dict[str, object]:
        """Every measure as JSON types, null where one is undefined."""


class Scores(tuple):
    """What PaddleSeg's evaluate returns, (mIoU, accuracy, class IoUs, class precisions, kappa), and a `report`.

    A data set with measures of its own puts them in these places: the first, of 0 to 1 and the higher the better,
    chooses the best model and is logged as `measure`; the second is drawn as accuracy.
    """

    report: Report
    measure: str = "mIoU"
