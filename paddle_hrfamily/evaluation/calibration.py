"""Calibration: whether of pixels of 80 % probability 80 % are right (Guo et al., ICML 2017, arXiv 1706.04599).

The expected calibration error sorts pixels by their maximum probability into 15 bins of equal width (section 2 and
table 1 there), and averages the distance of accuracy and mean probability, weighted by pixels. Temperature scaling
(section 4.2) divides all logits by one number, which minimises the negative log likelihood; it changes no label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from paddle_hrfamily.evaluation.counts import gathered

BINS = 15
PIXELS = 200_000  # that are drawn from all images together
_LOG_TEMPERATURES = (-3.0, 3.0)  # 0.05 to 20


class CalibrationMeasure:
    """Draws labelled pixels from every image, as many from each, with their logits.

    Args:
        images: of the data set.
        classes: planes of the output.
        ignore_index: the label value that is left out.
        pixels: to draw, of all images together; from a smaller share of each, the more images there are.
    """

    def __init__(self, images: int, classes: int, ignore_index: int, pixels: int = PIXELS) -> None:
        each = max(1, pixels // max(1, images))
        self.classes, self.ignore_index = classes, ignore_index
        self.logits = np.zeros((images, each, classes), np.float32)
        self.labels = np.zeros((images, each), np.int64)  # 0: none was drawn, else the class and one more
        self._output: paddle.Tensor | None = None

    def hear(self, output: paddle.Tensor) -> None:
        """The network's logits (1, K, H, W) of the image that comes next."""
        self._output = output

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        assert self._output is not None, "an evaluation that tells no logits"
        labelled = np.flatnonzero((label != self.ignore_index) & (label >= 0) & (label < self.classes))
        random = np.random.default_rng(index)
        drawn = random.choice(labelled, min(len(labelled), self.labels.shape[1]), replace=False, shuffle=False)
        planes = self._output.astype("float32").reshape([self.classes, -1])
        self.logits[index, : len(drawn)] = planes.numpy()[:, drawn].T
        self.labels[index, : len(drawn)] = label.ravel()[drawn] + 1

    def report(self, counts: np.ndarray) -> CalibrationReport:
        logits, labels = gathered(self.logits), gathered(self.labels)
        drawn = labels > 0
        return calibrated(logits[drawn], labels[drawn] - 1)


@dataclass(frozen=True)
class Reliability:
    """Pixels by their maximum probability.

    Attributes:
        pixels: (BINS,) in each bin.
        probability: (BINS,) the mean maximum probability; 0 of an empty bin.
        accuracy: (BINS,) the share whose label is predicted; 0 of an empty bin.
        nll: mean negative log likelihood of the labels, in nats.
    """

    pixels: np.ndarray
    probability: np.ndarray
    accuracy: np.ndarray
    nll: float

    @property
    def ece(self) -> float:
        """The expected calibration error, 0..1."""
        share = self.pixels / max(1, self.pixels.sum())
        return float((share * np.abs(self.accuracy - self.probability)).sum())

    def to_json(self) -> dict[str, object]:
        bins = {name: getattr(self, name).tolist() for name in ("pixels", "probability", "accuracy")}
        return {"ece": self.ece, "nll": self.nll, **bins}


@dataclass(frozen=True)
class CalibrationReport:
    """Calibration before and after temperature scaling, both on the pixels that the temperature was fitted on."""

    temperature: float
    before: Reliability
    after: Reliability

    def table(self) -> str:
        return (
            f"Expected calibration error ({BINS} bins, {self.before.pixels.sum()} pixels) {self.before.ece:.4f}; "
            f"{self.after.ece:.4f} at temperature {self.temperature:.4f}, which minimises the negative log likelihood "
            f"({self.before.nll:.4f} to {self.after.nll:.4f}) on these pixels. Export with --temperature "
            f"{self.temperature:.4f}"
        )

    def to_json(self) -> dict[str, object]:
        found = {"temperature": self.temperature, "before": self.before.to_json(), "after": self.after.to_json()}
        return {"calibration": found}


def calibrated(logits: np.ndarray, labels: np.ndarray) -> CalibrationReport:
    """Fit the temperature to logits (N, K) and labels (N,)."""
    if not len(labels):
        empty = reliability(logits, labels)
        return CalibrationReport(1.0, empty, empty)

    def loss(log_temperature: float) -> float:
        return _nll(log_softmax(logits / np.exp(log_temperature), axis=1), labels)

    temperature = float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))
    return CalibrationReport(temperature, reliability(logits, labels), reliability(logits / temperature, labels))


def reliability(logits: np.ndarray, labels: np.ndarray) -> Reliability:
    """Of logits (N, K) and labels (N,)."""
    logarithms = log_softmax(logits.astype(np.float64), axis=1)
    probability = np.exp(logarithms.max(axis=1, initial=-np.inf))
    right = logarithms.argmax(axis=1) == labels if len(labels) else np.zeros(0)
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    pixels, sums, hits = (np.bincount(bins, weights, BINS) for weights in (None, probability, right))
    filled = np.maximum(pixels, 1)
    return Reliability(pixels, sums / filled, hits / filled, _nll(logarithms, labels) if len(labels) else 0.0)


def _nll(logarithms: np.ndarray, labels: np.ndarray) -> float:
    return -float(np.take_along_axis(logarithms, labels[:, None], axis=1).mean())
