"""How sure a network is of each pixel, from its logits; and the label of pixels that it is not sure of.

`max_probability` is that of the class in the label map, 1/K to 1 of K classes. `entropy` is -Σ p log p over log K: 0
where one class has all of the probability, 1 where all have the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hrfamily_deploy.colors import UNSURE, Color
from hrfamily_deploy.errors import UserError

MEASURES = ("max_probability", "entropy")
NAME = "unsure"  # in legends
_FULL_SCALE = 65535  # what 1 is in a file of 16 bits


@dataclass(frozen=True)
class Classes:
    """What the numbers of a label map stand for.

    Attributes:
        names, colors: one each per class, RGB.
        unsure: the number of unsure pixels; None where there are none.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    unsure: int | None = None

    @classmethod
    def of(cls, names: Sequence[str], colors: Sequence[Color], threshold: float | None) -> Classes:
        """Those of label maps with that --unsure."""
        return cls(tuple(names), tuple(colors), None if threshold is None else unsure_number(len(names)))

    @property
    def shown(self) -> Classes:
        """As they are drawn and counted: unsure pixels are one class more, in white."""
        return self if self.unsure is None else Classes((*self.names, NAME), (*self.colors, UNSURE))

    def numbered(self, label: np.ndarray) -> np.ndarray:
        """The label map (H, W) in the numbers of `shown`."""
        if self.unsure is None:
            return label
        return np.where(label == self.unsure, len(self.names), label).astype(np.uint16)

    def palette(self) -> tuple[Color, ...]:
        """Colours by number, as a label map's file has them."""
        return self.colors if self.unsure is None else (*self.colors, *[UNSURE] * (256 - len(self.colors)))


def measured(planes: Iterator[np.ndarray], measure: str) -> np.ndarray:
    """(H, W) float32 of 0..1: one of MEASURES of logits (H, W), which come class by class.

    They are summed up as they come, relative to the greatest so far: of many classes there is no room for all.
    """
    greatest = next(planes).astype(np.float32)
    total, weighted, classes = np.ones_like(greatest), np.zeros_like(greatest), 1
    for plane in planes:
        new = np.maximum(greatest, plane)
        fall, power = greatest - new, plane - new
        shrunk, grown = np.exp(fall), np.exp(power)
        weighted = (weighted + total * fall) * shrunk + power * grown  # Σ (x - greatest) exp(x - greatest)
        total = total * shrunk + grown  # Σ exp(x - greatest)
        greatest, classes = new, classes + 1
    if measure == "max_probability":
        return 1 / total
    return ((np.log(total) - weighted / total) / np.log(max(classes, 2))).clip(0, 1)


def unsure_number(classes: int) -> int:
    """The label of unsure pixels: 255, which training ignores by default, or 65535 where 255 may be a class."""
    return 255 if classes <= 255 else 65535


def marked(label: np.ndarray, values: np.ndarray, measure: str, threshold: float, classes: int) -> np.ndarray:
    """The label map (H, W) with `unsure_number` where the maximum probability is below the threshold, or the entropy
    above it."""
    doubtful = values < threshold if measure == "max_probability" else values > threshold
    number = unsure_number(classes)
    return np.where(doubtful, number, label).astype(np.uint8 if number == 255 else np.uint16)


def check(threshold: float | None) -> None:
    """Raises UserError unless --unsure is from 0 to 1, or None."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"--unsure {threshold} must be a number of 0 to 1, such as 0.6")


def to_file(values: np.ndarray) -> np.ndarray:
    """(H, W) uint16 of values of 0..1, as a grey image of 16 bits holds them: 65535 is 1."""
    return np.round(values * _FULL_SCALE).astype(np.uint16)


def from_file(pixels: np.ndarray) -> np.ndarray:
    """(H, W) float32: the way back."""
    return pixels.astype(np.float32) / _FULL_SCALE
