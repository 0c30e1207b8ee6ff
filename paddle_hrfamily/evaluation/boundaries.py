"""How well outlines are found: Boundary IoU and boundary F1.

Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562) is, for each class, the IoU of two strips: the labelled pixels
within a distance of the label's outline, and the predicted ones within that distance of the prediction's (its equation
3), their pixels added up over all images.

Boundary F1 (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013) is that of
precision, the share of the prediction's outline within a distance of the label's, and recall, the other way about.
There it is averaged over images; here pixels are added up over all images, as for all else.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from paddle_hrfamily.evaluation.counts import gathered

DILATION_RATIO = 0.02  # the distance, as a share of the image's diagonal (Boundary IoU, section 5)
TOLERANCE_RATIO = 0.0075  # that of F1, the default of MATLAB's bfscore
_SQUARE = np.ones((3, 3), np.uint8)


class BoundaryMeasure:
    """Adds up the strips' pixels of every class.

    What is ignored is cut from both maps before the strips are taken, so that its outline is one of both. The image's
    border is an outline too, as in the authors' code. For F1 neither is.

    Args:
        names: the classes.
        ignore_index: the label value that is left out.
    """

    def __init__(self, names: tuple[str, ...], ignore_index: int) -> None:
        self.names, self.ignore_index = names, ignore_index
        self.areas = np.zeros((2, len(names)), "int64")  # intersection, union
        self.outlines = np.zeros((4, len(names)), "int64")  # predicted, those matched, labelled, those matched

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        kept = label != self.ignore_index
        height, width = label.shape
        distance, tolerance = strip_width(height, width), strip_width(height, width, TOLERANCE_RATIO)
        counted = cv2.erode(kept.astype(np.uint8), _SQUARE) > 0  # not beside what is ignored
        for number in np.intersect1d(np.arange(len(self.names)), np.union1d(predicted[kept], label[kept])):
            strips = [boundary((classes == number) & kept, distance) for classes in (predicted, label)]
            self.areas[:, number] += np.count_nonzero(strips[0] & strips[1]), np.count_nonzero(strips[0] | strips[1])
            lines = [outline(classes == number) & counted for classes in (predicted, label)]
            for row, (line, other) in enumerate((lines, lines[::-1])):
                matched = line & widened(other, tolerance)
                self.outlines[2 * row : 2 * row + 2, number] += np.count_nonzero(line), np.count_nonzero(matched)

    def report(self, counts: np.ndarray) -> BoundaryReport:
        intersection, union = gathered(self.areas)
        predicted, right, labelled, found = gathered(self.outlines)
        with np.errstate(divide="ignore", invalid="ignore"):
            # 2PR / (P + R), which is 0 and not undefined where one of the two has no outline
            f1 = 2 * right * found / (right * labelled + found * predicted)
        f1 = np.where((right + found == 0) & (predicted + labelled > 0), 0.0, f1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return BoundaryReport(self.names, intersection / union, f1)


@dataclass(frozen=True)
class BoundaryReport:
    """The measure of each class, NaN for one that no label has and nobody predicted."""

    names: tuple[str, ...]
    iou: np.ndarray
    f1: np.ndarray

    @property
    def mean(self) -> float:
        """Boundary IoU over the classes that have one; NaN if none has."""
        return _mean(self.iou)

    @property
    def mean_f1(self) -> float:
        """F1 over the classes that have one; NaN if none has."""
        return _mean(self.f1)

    def table(self) -> str:
        iou, f1 = (
            ", ".join(f"{name} {value:.4f}" for name, value in zip(self.names, values) if np.isfinite(value))
            for values in (self.iou, self.f1)
        )
        return (
            f"Boundary IoU {self.mean:.4f} (strips of {DILATION_RATIO:.0%} of the diagonal): {iou}\n"
            f"Boundary F1 {self.mean_f1:.4f} (within {TOLERANCE_RATIO:.2%} of the diagonal): {f1}"
        )

    def to_json(self) -> dict[str, object]:
        def content(values: np.ndarray) -> dict[str, object]:
            classes = {name: float(v) if np.isfinite(v) else None for name, v in zip(self.names, values)}
            return {"mean": _mean(values) if np.isfinite(_mean(values)) else None, "classes": classes}

        return {
            "boundary_iou": {**content(self.iou), "dilation_ratio": DILATION_RATIO},
            "boundary_f1": {**content(self.f1), "tolerance_ratio": TOLERANCE_RATIO},
        }


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def strip_width(height: int, width: int, ratio: float = DILATION_RATIO) -> int:
    """Pixels that are this share of the diagonal of an image of this size, 1 at least."""
    return max(1, round(ratio * float(np.hypot(height, width))))


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a bool mask (H, W) with one beside them, or at a corner, that is not of it."""
    return mask & (cv2.erode(mask.astype(np.uint8), _SQUARE, borderType=cv2.BORDER_REPLICATE) == 0)


def widened(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels within `distance` (the greater of rows and columns) of a bool mask (H, W)."""
    side = 2 * distance + 1
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))) > 0


def boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The part of a bool mask (H, W) within `distance` (the greater of rows and columns) of what is outside of it."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, _SQUARE, iterations=distance)
    return mask & (inner[1:-1, 1:-1] == 0)
