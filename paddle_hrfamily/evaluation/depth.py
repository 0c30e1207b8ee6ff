"""How good depth maps are: the six measures of U-HRNet section 5.3, over all pixels and as means over the images.

Predictions are cut to what is measurable; pixels that were not measured, and what lies outside Eigen's crop, are left
out. The works whose measures the paper takes, its [1] (DenseDepth) and [71] (VNL), pool the pixels of all images, and
so do the figures by name alone here; those with `_per_image` weigh every image alike, as Eigen's and BTS's scripts do.
The rms differs most: a root of means is more than a mean of roots. The best model is chosen by the pooled rms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import paddle
from paddle import nn
from paddleseg.utils import logger

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation.counts import gathered
from paddle_hrfamily.evaluation.scores import Scores
from paddle_hrfamily.inference.options import EvaluationOptions
from paddle_hrfamily.inference.prediction import predictions

MEASURES = ("abs_rel", "log10", "rms", "delta1", "delta2", "delta3")
_IS_ROOT = np.array([name == "rms" for name in MEASURES])  # the others are means over pixels
MIN_DEPTH = 1e-3  # metres; what predictions are cut to from below
_EIGEN = (45, 471, 41, 601)  # top, bottom, left, right of 480×640
_EIGEN_SIZE = (480, 640)


class DepthDataset(Protocol):
    """What is asked of a data set whose labels are metres, (1, H, W) float32 in evaluation.

    Attributes:
        max_depth: metres; farther pixels are left out.
        eigen_crop: whether Eigen's crop alone is looked at.
    """

    max_depth: float
    eigen_crop: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, object]: ...


def measures(predicted: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(6,) MEASURES of two equally shaped arrays of metres, all above 0 and at least one of them.

    abs_rel: mean |p - d| / d. log10: mean |log10 p - log10 d|. rms: root of the mean square of p - d, metres.
    delta_i: the share of pixels where the greater is less than 1.25^i times the smaller.
    """
    predicted, depth = predicted.astype("float64"), depth.astype("float64")
    error = np.abs(predicted - depth)
    ratio = np.maximum(predicted / depth, depth / predicted)
    return np.array(
        [
            (error / depth).mean(),
            np.abs(np.log10(predicted / depth)).mean(),
            np.sqrt(np.square(error).mean()),
            *((ratio < 1.25**i).mean() for i in (1, 2, 3)),
        ]
    )


def eigen_mask(height: int, width: int) -> np.ndarray:
    """(height, width) bool: the part of an image that Eigen's evaluation looks at."""
    rows, columns = height / _EIGEN_SIZE[0], width / _EIGEN_SIZE[1]
    top, bottom, left, right = (round(e * f) for e, f in zip(_EIGEN, (rows, rows, columns, columns)))
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


@dataclass(frozen=True)
class DepthReport:
    """The measures of an evaluation.

    Attributes:
        rows: (images, 6) MEASURES of each image; NaN for one without a measured pixel.
        pixels: (images,) measured in each.
        max_depth: metres; farther pixels were left out.
        eigen_crop: whether the border was.
    """

    rows: np.ndarray
    pixels: np.ndarray
    max_depth: float
    eigen_crop: bool

    def pooled(self) -> dict[str, float]:
        """Every measure over the measured pixels of all images."""
        rows = np.where(_IS_ROOT, np.square(self.rows), self.rows)[self.pixels > 0]
        means = np.average(rows, axis=0, weights=self.pixels[self.pixels > 0])
        return dict(zip(MEASURES, map(float, np.where(_IS_ROOT, np.sqrt(means), means))))

    def per_image(self) -> dict[str, float]:
        """Every measure's mean over the images that could be measured."""
        return dict(zip(MEASURES, map(float, np.nanmean(self.rows, axis=0))))

    def table(self) -> str:
        """Both as text, in the order of the paper's table 7."""
        from prettytable import PrettyTable

        table = PrettyTable(["", *MEASURES], align="r")
        for name, values in (("over all pixels", self.pooled()), ("mean over images", self.per_image())):
            table.add_row([name, *(f"{value:.4f}" for value in values.values())])
        used = int(np.isfinite(self.rows[:, 0]).sum())
        crop = "Eigen's crop" if self.eigen_crop else "whole images"
        left_out = f", {len(self.rows) - used} without a measured pixel left out" if used < len(self.rows) else ""
        return f"{table}\n{used} images{left_out}: {crop}, up to {self.max_depth:g} m, rms in metres"

    def to_json(self) -> dict[str, object]:
        """Everything above as JSON types."""
        rows = [dict(zip(MEASURES, row)) if np.isfinite(row[0]) else None for row in self.rows.tolist()]
        settings = {"max_depth": self.max_depth, "eigen_crop": self.eigen_crop}
        means = {f"{name}_per_image": value for name, value in self.per_image().items()}
        return {"images": len(self.rows), **self.pooled(), **means, **settings, "per_image": rows}


def evaluate(model: nn.Layer, dataset: DepthDataset, options: EvaluationOptions) -> Scores:
    """Predict every image and compare.

    The first score, by which the best model is kept, is 1 - rms / max_depth: of 0 to 1, the greater the smaller the rms
    over all pixels.

    Raises:
        UserError: the network does not predict depth, or no image has a measured pixel.
    """
    rank, ranks = paddle.distributed.get_rank(), paddle.distributed.get_world_size()
    rows, pixels = np.zeros((len(dataset), len(MEASURES))), np.zeros(len(dataset), "int64")
    mine = list(range(rank, len(dataset), ranks))
    for index, (sample, output) in zip(mine, predictions(model, dataset, mine, options)):
        if output.shape[1] != 1:
            raise UserError(f"the network has {output.shape[1]} outputs a pixel, and depth is one: use HRDepth")
        rows[index], pixels[index] = _of_one(output.numpy()[0, 0], sample["label"].numpy()[0, 0], dataset)
    rows, pixels = gathered(rows), gathered(pixels)
    if not pixels.any():
        raise UserError(f"none of {len(rows)} images has a measured pixel within {dataset.max_depth:g} m")
    report = DepthReport(rows, pixels, dataset.max_depth, dataset.eigen_crop)
    if options.print_detail:
        logger.info("[EVAL] Depth:\n" + report.table())
    found = report.pooled()
    chosen = 1 - found["rms"] / dataset.max_depth
    scores = Scores((chosen, found["delta1"], [found[f"delta{i}"] for i in (1, 2, 3)], [], found["rms"]))
    scores.report, scores.measure = report, f"1 - rms / {dataset.max_depth:g} m"
    return scores


def _of_one(predicted: np.ndarray, depth: np.ndarray, dataset: DepthDataset) -> tuple[np.ndarray, int]:
    """MEASURES of one image, and of how many pixels."""
    measured = (depth > MIN_DEPTH) & (depth <= dataset.max_depth)
    if dataset.eigen_crop:
        measured &= eigen_mask(*depth.shape)
    if not measured.any():
        return np.full(len(MEASURES), np.nan), 0
    of_pixels = measures(predicted[measured].clip(MIN_DEPTH, dataset.max_depth), depth[measured])
    return of_pixels, np.count_nonzero(measured)
