"""What every evaluation returns, and what may look at its images on the way."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import paddle


class Report(Protocol):
    """What `hrfamily val` needs of an evaluation's report."""

    def table(self) -> str:
        """The measures as text."""

    def to_json(self) -> dict[str, object]:
        """Every measure as JSON types, null where one is undefined."""


class ImageMeasure(Protocol):
    """A further measure of a segmentation, which sees every image once; with several processes, each its own part."""

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        """Take the image of this number in the data set: class maps (H, W), int64."""

    def report(self, counts: np.ndarray) -> Report:
        """The measure over the images of all processes, whose `counts.pixel_counts` are given; all of them call it."""


class OutputMeasure(ImageMeasure, Protocol):
    """An ImageMeasure that is told the network's output as well."""

    def hear(self, output: paddle.Tensor) -> None:
        """The logits (1, K, H, W), at the size of its label, of the image that `add` takes next."""


class Scores(tuple):
    """What PaddleSeg's evaluate returns, (mIoU, accuracy, class IoUs, class precisions, kappa), and a `report`.

    A data set with measures of its own puts them in these places: the first, of 0 to 1 and the higher the better,
    chooses the best model and is logged as `measure`; the second is drawn as accuracy.
    """

    report: Report
    measure: str = "mIoU"
