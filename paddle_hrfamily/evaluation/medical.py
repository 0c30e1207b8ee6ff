"""How well organs are found in whole volumes: Dice coefficient and 95th percentile of the surface distances.

Cases without a volume to compare, which scripts treat in silence and each in its way, are decided so: an organ that is
neither there nor predicted is left out; one that is missed or made up has DSC 0 and HD95 the diagonal of the volume,
the largest distance there is. TransUNet's script, by which the published figures of this data set were made, gives
(1, 0) to one made up and (0, 0) to one that is missed or in neither: its means are printed below ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import paddle
from paddle import nn
from paddleseg.utils import logger
from scipy import ndimage

from paddle_hrfamily.evaluation.counts import gathered
from paddle_hrfamily.evaluation.scores import Scores
from paddle_hrfamily.evaluation.segmentation import class_names
from paddle_hrfamily.inference.options import EvaluationOptions
from paddle_hrfamily.inference.prediction import predictions


class VolumeDataset(Protocol):
    """What is asked of a data set of slices that is judged by whole volumes; a label is (1, H, W) in evaluation.

    Attributes:
        cases: the volumes' files.
        volumes: for each case the numbers of its slices, in order.
        num_classes: with the background, which is class 0.
    """

    cases: Sequence[Path]
    volumes: Sequence[Sequence[int]]
    num_classes: int

    def spacing_of(self, case: int) -> tuple[float, float, float]:
        """The distance of slices, rows and columns of a case, in the unit that HD95 is wanted in."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, object]: ...


def dice(predicted: np.ndarray, label: np.ndarray) -> float:
    """2·|A ∩ B| / (|A| + |B|) of two bool arrays; NaN where both are empty."""
    total = np.count_nonzero(predicted) + np.count_nonzero(label)
    return 2 * np.count_nonzero(predicted & label) / total if total else float("nan")


def hd95(predicted: np.ndarray, label: np.ndarray, spacing: Sequence[float] | None = None) -> float:
    """95th percentile of the distances from each surface to the nearest point of the other, both ways together.

    Args:
        predicted, label: bool arrays of one shape. The surface of each are its elements with a neighbour outside it
            (across a face; beyond the array is outside).
        spacing: distance of neighbours along each axis; default 1.

    Returns:
        The distance in units of `spacing`; NaN where both are empty, the array's diagonal where one is.
    """
    steps = np.ones(label.ndim) if spacing is None else np.asarray(spacing, "float64")
    if not predicted.any() and not label.any():
        return float("nan")
    if not predicted.any() or not label.any():
        return float(np.linalg.norm(np.array(label.shape) * steps))
    box = ndimage.find_objects((predicted | label).astype("uint8"))[0]  # nothing beyond it has a part in the distances
    surfaces = [_surface(mask[box]) for mask in (predicted, label)]
    there, back = (
        ndimage.distance_transform_edt(~other, sampling=steps)[own] for own, other in (surfaces, surfaces[::-1])
    )
    return float(np.percentile(np.concatenate([there, back]), 95))


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def volume_scores(
    predicted: np.ndarray, label: np.ndarray, num_classes: int, spacing: Sequence[float] | None = None
) -> np.ndarray:
    """(num_classes - 1, 2): DSC and HD95 of every class but 0, the background, in two label maps."""
    masks = ((predicted == index, label == index) for index in range(1, num_classes))
    return np.array([(dice(p, t), hd95(p, t, spacing)) for p, t in masks])


@dataclass(frozen=True)
class MedicalReport:
    """The measures of an evaluation.

    Attributes:
        scores: (volumes, organs, 2) of `volume_scores`.
        published: the same by TransUNet's rule for what is missed, made up, or in neither.
        cases: the volumes' names.
        organs: the classes' names, without the background.
    """

    scores: np.ndarray
    published: np.ndarray
    cases: tuple[str, ...]
    organs: tuple[str, ...]

    def overall(self) -> dict[str, float]:
        """Means over volumes, then organs: dsc (0..1) and hd95, and both by TransUNet's rule."""
        ours, theirs = np.nanmean(self._per_organ(), axis=0), self.published.mean(axis=(0, 1))
        names = ("dsc", "hd95", "dsc_published_rule", "hd95_published_rule")
        return dict(zip(names, map(float, (*ours, *theirs))))

    def table(self) -> str:
        """The measures as text, one organ a row; --- for one that is in no volume and was never predicted."""
        from prettytable import PrettyTable

        overall = self.overall()
        table = PrettyTable(["organ", "DSC", "HD95", "volumes"], align="r")
        table.align["organ"] = "l"
        counts = np.isfinite(self.scores[..., 0]).sum(axis=0)
        for organ, (dsc, distance), count in zip(self.organs, self._per_organ(), counts):
            table.add_row([organ, f"{dsc:.4f}" if count else "---", f"{distance:.2f}" if count else "---", count])
        return (
            f"{table}\n{len(self.cases)} volumes: DSC {overall['dsc']:.4f}, HD95 {overall['hd95']:.2f}; by TransUNet's "
            f"rule for empty organs {overall['dsc_published_rule']:.4f}, {overall['hd95_published_rule']:.2f}"
        )

    def to_json(self) -> dict[str, object]:
        """Everything above as JSON types, null where a measure is undefined."""
        cases = {
            case: {organ: _pair(scores) for organ, scores in zip(self.organs, rows)}
            for case, rows in zip(self.cases, self.scores)
        }
        organs = {organ: _pair(scores) for organ, scores in zip(self.organs, self._per_organ())}
        return {"volumes": len(self.cases), **self.overall(), "organs": organs, "cases": cases}

    def _per_organ(self) -> np.ndarray:
        counts = np.isfinite(self.scores).sum(axis=0)
        return np.where(counts, np.nansum(self.scores, axis=0) / np.maximum(counts, 1), np.nan)


def evaluate(model: nn.Layer, dataset: VolumeDataset, options: EvaluationOptions) -> Scores:
    """Predict every slice and compare the volumes. The first score, which chooses the best model, is the mean DSC."""
    rank, ranks = paddle.distributed.get_rank(), paddle.distributed.get_world_size()
    shape = (len(dataset.cases), dataset.num_classes - 1, 2)
    scores, published = np.zeros(shape), np.zeros(shape)
    for case in range(rank, len(dataset.cases), ranks):
        predicted, label = _volume(model, dataset, case, options)
        scores[case] = volume_scores(predicted, label, dataset.num_classes, dataset.spacing_of(case))
        published[case] = _published_rule(scores[case], predicted, label)
    names = tuple(file.name.split(".")[0] for file in dataset.cases)
    report = MedicalReport(gathered(scores), gathered(published), names, class_names(dataset)[1:])
    if options.print_detail:
        logger.info("[EVAL] Per organ:\n" + report.table())
    overall = report.overall()
    result = Scores((overall["dsc"], overall["dsc"], report._per_organ()[:, 0], [], overall["hd95"]))
    result.report, result.measure = report, "DSC"
    return result


def _volume(
    model: nn.Layer, dataset: VolumeDataset, case: int, options: EvaluationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and label of a whole case, (D, H, W) uint8."""
    predicted, label = [], []
    for sample, logits in predictions(model, dataset, dataset.volumes[case], options, name=dataset.cases[case].name):
        predicted.append(logits.argmax(axis=1).numpy()[0].astype("uint8"))
        label.append(sample["label"].numpy()[0, 0].astype("uint8"))
    return np.stack(predicted), np.stack(label)


def _published_rule(scores: np.ndarray, predicted: np.ndarray, label: np.ndarray) -> np.ndarray:
    result = scores.copy()
    for index in range(1, len(scores) + 1):
        found, there = (predicted == index).any(), (label == index).any()
        if not (found and there):
            result[index - 1] = (1, 0) if found else (0, 0)
    return result


def _pair(scores: np.ndarray) -> dict[str, float | None]:
    return {key: float(value) if np.isfinite(value) else None for key, value in zip(("dsc", "hd95"), scores)}
