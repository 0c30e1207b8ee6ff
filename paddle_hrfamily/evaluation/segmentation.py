"""The measures of a segmentation, by class and over all, each from the same count of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.evaluation.counts import areas
from paddle_hrfamily.evaluation.scores import Report


@dataclass(frozen=True)
class SegmentationReport:
    """Every measure of one evaluation, each from the same count of pixels.

    Attributes:
        counts: (C + 2, C + 1) int64 of `counts.pixel_counts`, over all images.
        names: the C classes.
        ignore_index: the label value that is left out.
        images: how many were evaluated.
        inference: how the network saw them, in words.
        further: reports of further measures of the same images.
    """

    counts: np.ndarray
    names: tuple[str, ...]
    ignore_index: int
    images: int
    inference: str = ""
    further: tuple[Report, ...] = ()

    @property
    def confusion(self) -> np.ndarray:
        """(C, C) pixels: row the labelled class, column the predicted one."""
        return self.counts[: len(self.names), : len(self.names)]

    @property
    def present(self) -> np.ndarray:
        """(C,) whether any label has the class."""
        return self._areas[2] > 0

    def per_class(self) -> dict[str, np.ndarray]:
        """iou, accuracy (recall), precision, dice, each 0 where it is undefined, and share of the labelled pixels."""
        hit, predicted, labelled = self._areas
        return {
            "iou": _ratio(hit, predicted + labelled - hit),
            "accuracy": _ratio(hit, labelled),
            "precision": _ratio(hit, predicted),
            "dice": _ratio(2 * hit, predicted + labelled),
            "share": _ratio(labelled, labelled.sum()),
        }

    def overall(self) -> dict[str, float]:
        """miou, mean_accuracy and dice (means over all classes, as PaddleSeg; the second is "avg. acc." of the papers'
        LIP tables), miou_present (over the classes in the labels), pixel accuracy and Cohen's kappa (NaN where all
        labels are one class)."""
        hit, predicted, labelled = self._areas
        classes = self.per_class()
        total = labelled.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = (predicted * labelled).sum() / (total * total)
            kappa = (hit.sum() / total - chance) / (1 - chance)
            accuracy = hit.sum() / predicted.sum()
        return {
            "miou": float(classes["iou"].mean()),
            "miou_present": float(classes["iou"][self.present].mean()) if self.present.any() else 0.0,
            "pixel_accuracy": float(accuracy),
            "mean_accuracy": float(classes["accuracy"].mean()),
            "kappa": float(kappa),
            "dice": float(classes["dice"].mean()),
        }

    def table(self) -> str:
        """The measures as text, one class a row; `-` for a class that no label has."""
        from prettytable import PrettyTable

        overall, classes = self.overall(), self.per_class()
        table = PrettyTable(["class", "IoU", "accuracy", "precision", "pixels"], align="r")
        table.align["class"] = "l"
        for index, name in enumerate(self.names):
            scores = [f"{classes[key][index]:.4f}" for key in ("iou", "accuracy", "precision")]
            table.add_row([name, *(scores if self.present[index] else "---"), f"{classes['share'][index]:.2%}"])
        lines = [
            str(table),
            f"{self.images} images: mIoU {overall['miou']:.4f}, pixel accuracy {overall['pixel_accuracy']:.4f}, "
            f"mean accuracy {overall['mean_accuracy']:.4f}, kappa {overall['kappa']:.4f}, dice {overall['dice']:.4f}",
        ]
        absent = [name for name, present in zip(self.names, self.present) if not present]
        if absent:
            lines.append(
                f"No label has {', '.join(absent)}: their IoU counts as 0 above; "
                f"mIoU over the others {overall['miou_present']:.4f}"
            )
        if self.inference:
            lines.append(self.inference)
        return "\n".join([*lines, *(report.table() for report in self.further)])

    def to_json(self) -> dict[str, object]:
        """Everything above as JSON types, null where a measure is undefined."""
        classes = self.per_class()
        return {
            "images": self.images,
            **{key: value if np.isfinite(value) else None for key, value in self.overall().items()},
            "classes": [
                {"name": name, **{key: float(values[index]) for key, values in classes.items()}}
                for index, name in enumerate(self.names)
            ],
            "confusion_rows_are_labels": self.confusion.tolist(),
            **{key: value for report in self.further for key, value in report.to_json().items()},
        }

    @property
    def _areas(self) -> tuple[np.ndarray, ...]:
        return tuple(area.astype("float64") for area in areas(self.counts, self.ignore_index))


def class_names(dataset: paddle.io.Dataset) -> tuple[str, ...]:
    """The names that `config_file.builder` gave the data set, else those of its type."""
    section = {"type": type(dataset).__name__, "num_classes": dataset.num_classes}
    return getattr(dataset, "class_names", None) or class_table({"val_dataset": section}).names


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=np.asarray(whole) != 0)
