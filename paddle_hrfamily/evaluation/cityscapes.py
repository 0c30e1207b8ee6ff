"""The four scores of Cityscapes' benchmark: IoU and iIoU of classes (the first is the mIoU) and of categories.

iIoU weighs what is found and missed of every instance by the average size of its class over its own, so that small
instances count as much as large ones. The reference is cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py:
false positives are not weighted, since a prediction has no instances; groups (values below 1000) are no instances; and
a score that nothing was labelled or predicted for is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddleseg.datasets import Cityscapes
from PIL import Image

from paddle_hrfamily.data.cityscapes import LABELS, CityscapesFine, instance_file
from paddle_hrfamily.evaluation.counts import gathered
from paddle_hrfamily.evaluation.segmentation import class_names

CATEGORIES = tuple(dict.fromkeys(label.category for label in LABELS))
_CATEGORY = np.array([CATEGORIES.index(label.category) for label in LABELS])  # of each class
_SIZES = np.array([label.instance_size or np.nan for label in LABELS])
_HAVE_INSTANCES = np.isfinite(_SIZES)
# A category has instances if all of its classes have.
_CATEGORY_HAS_INSTANCES = np.array([_HAVE_INSTANCES[index == _CATEGORY].all() for index in range(len(CATEGORIES))])
_CLASS_OF_ID = np.full(256, -1)
_CLASS_OF_ID[[label.id for label in LABELS]] = np.arange(len(LABELS))


class CityscapesMeasure:
    """Adds up the weighted pixels of all instances, from the *_gtFine_instanceIds.png beside the labels.

    Args:
        dataset: PaddleSeg's Cityscapes or `CityscapesFine`.
    """

    def __init__(self, dataset: paddle.io.Dataset) -> None:
        self.names = class_names(dataset)
        self.files = [instance_file(Path(label)) for _, label in dataset.file_list]
        self.found = np.zeros((2, len(LABELS)))  # weighted pixels with the right class, with the right category
        self.whole = np.zeros(len(LABELS))  # weighted pixels in all
        self.missing = np.zeros(1, "int64")  # images without instances' file

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        file = self.files[index]
        if not file.is_file():
            self.missing += 1
            return
        found, whole = weighted_pixels(predicted, np.asarray(Image.open(file)))
        self.found += found
        self.whole += whole

    def report(self, counts: np.ndarray) -> CityscapesReport:
        found, whole, missing = gathered(self.found), gathered(self.whole), int(gathered(self.missing)[0])
        confusion = counts[: len(LABELS), : len(LABELS)]
        groups = np.eye(len(CATEGORIES))[_CATEGORY]  # (classes, categories)
        by_category = groups.T @ confusion @ groups
        instances = None
        if not missing:
            classes = _iou(found[0], whole, _false_positives(confusion), _HAVE_INSTANCES)
            instances = (
                classes,
                _iou(found[1] @ groups, whole @ groups, _false_positives(by_category), _CATEGORY_HAS_INSTANCES),
            )
        # Labelled pixels of a category that were predicted as nothing at all count as missed.
        labelled = counts[: len(LABELS)].sum(axis=1)
        iou = _iou(np.diagonal(by_category), labelled @ groups, _false_positives(by_category))
        return CityscapesReport(self.names, iou, instances, missing)


@dataclass(frozen=True)
class CityscapesReport:
    """Scores of 0..1, NaN where there is nothing to score.

    Attributes:
        names: the classes.
        category_iou: of CATEGORIES.
        instances: iIoU of the classes and of CATEGORIES; None without the instances of all images.
        missing: how many images lack theirs.
    """

    names: tuple[str, ...]
    category_iou: np.ndarray
    instances: tuple[np.ndarray, np.ndarray] | None
    missing: int

    def overall(self) -> dict[str, float]:
        """iou_category and, with instances, iiou_class and iiou_category: means over those that have a score."""
        found = {"iou_category": self.category_iou}
        if self.instances:
            found["iiou_class"], found["iiou_category"] = self.instances
        return {key: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for key, v in found.items()}

    def table(self) -> str:
        overall = self.overall()
        lines = [f"Categories: IoU {overall['iou_category']:.4f} ({_listed(CATEGORIES, self.category_iou)})"]
        if self.instances is None:
            lines.append(
                f"iIoU is left out: {self.missing} images lack their *_gtFine_instanceIds.png beside the label"
            )
            return lines[0] + "\n" + lines[1]
        for what, key, names, values in zip(
            ("Classes", "Categories"), ("iiou_class", "iiou_category"), (self.names, CATEGORIES), self.instances
        ):
            lines.append(f"{what}: iIoU {overall[key]:.4f} ({_listed(names, values)})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        content: dict[str, object] = {key: _number(value) for key, value in self.overall().items()}
        categories = {"iou": self.category_iou}
        if self.instances:
            content["class_iiou"] = _by_name(self.names, self.instances[0])
            categories["iiou"] = self.instances[1]
        content["categories"] = {key: _by_name(CATEGORIES, values) for key, values in categories.items()}
        return {"cityscapes": content}


def is_cityscapes(dataset: object) -> bool:
    """Whether its labels are Cityscapes' 19 classes, in files of Cityscapes' names."""
    return isinstance(dataset, (Cityscapes, CityscapesFine))


def weighted_pixels(predicted: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What was found of an image's instances: (2, classes) with the right class and category, and (classes,) in all.

    Args:
        predicted: (H, W) classes.
        instances: (H, W) of an instanceIds file: id·1000 + number, or the id where there is no instance.
    """
    inside = instances > 1000
    numbers, which, sizes = np.unique(instances[inside], return_inverse=True, return_counts=True)
    classes = _CLASS_OF_ID[numbers // 1000]
    guess, truth = predicted[inside], classes[which]
    right = (guess == truth, (_CATEGORY[guess] == _CATEGORY[truth]))
    known = classes >= 0  # caravans and trailers are instances of no class
    weights = _SIZES[classes[known]] / sizes[known]

    def per_class(pixels: np.ndarray) -> np.ndarray:
        return np.bincount(classes[known], pixels[known] * weights, minlength=len(LABELS))

    found = [per_class(np.bincount(which, hits, minlength=len(numbers))) for hits in right]
    return np.array(found), per_class(sizes)


def _false_positives(confusion: np.ndarray) -> np.ndarray:
    return confusion.sum(axis=0) - np.diagonal(confusion)


def _iou(
    found: np.ndarray, whole: np.ndarray, false_positives: np.ndarray, scored: np.ndarray | None = None
) -> np.ndarray:
    """found / (whole + false_positives), NaN where that is 0 / 0 or not `scored`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = found / (whole + false_positives)
    return iou if scored is None else np.where(scored, iou, np.nan)


def _listed(names: Sequence[str], values: np.ndarray) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values) if np.isfinite(value))


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
