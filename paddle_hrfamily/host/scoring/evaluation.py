"""PaddleSeg's evaluation, unchanged, with a table of named classes and the confusion matrix.

`install()` puts a function around `paddleseg.core.evaluate`; evaluation during training goes through it too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import paddle

from paddle_hrfamily.host.compat.metrics import areas, pixel_counts
from paddle_hrfamily.host.overlay import Overlay, borrowed, core_module, wrap

if TYPE_CHECKING:
    from paddle_hrfamily.host.predicting.inference import InferenceOptions


def install() -> None:
    """Make every evaluation in this process print the table. Safe to repeat."""
    import paddleseg.core

    module = core_module("val")
    wrap(module, "evaluate", _reported)
    paddleseg.core.evaluate = core_module("train").evaluate = module.evaluate


class Scores(tuple):
    """What PaddleSeg's evaluate returns, (mIoU, accuracy, class IoUs, class precisions, kappa), and a `report`.

    A data set with measures of its own puts them in these places: the first, of 0 to 1 and the higher the better,
    chooses the best model and is logged as `measure`; the second is drawn as accuracy.
    """

    report: AnyReport
    measure: str = "mIoU"


class AnyReport(Protocol):
    """What `hrfamily val` needs of an evaluation's report."""

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class EvaluationOptions:
    """How a data set with measures of its own is evaluated: the arguments of PaddleSeg's evaluate."""

    inference: InferenceOptions
    precision: str = "fp32"
    amp_level: str = "O1"
    num_workers: int = 0
    print_detail: bool = True


@dataclass(frozen=True)
class Report:
    """Every measure of one evaluation, each from the same count of pixels.

    Attributes:
        counts: (C + 2, C + 1) int64 of `compat.pixel_counts`, over all images.
        names: the C classes.
        ignore_index: the label value that is left out.
        images: how many were evaluated.
    """

    counts: np.ndarray
    names: tuple[str, ...]
    ignore_index: int
    images: int

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
        """miou and dice (means over all classes, as PaddleSeg), miou_present (over the classes in the labels), pixel
        accuracy and Cohen's kappa (NaN where all labels are one class)."""
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
            f"kappa {overall['kappa']:.4f}, dice {overall['dice']:.4f}",
        ]
        absent = [name for name, present in zip(self.names, self.present) if not present]
        if absent:
            lines.append(
                f"No label has {', '.join(absent)}: their IoU counts as 0 above; "
                f"mIoU over the others {overall['miou_present']:.4f}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
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
        }

    @property
    def _areas(self) -> tuple[np.ndarray, ...]:
        return tuple(area.astype("float64") for area in areas(self.counts, self.ignore_index))


def class_names(dataset: paddle.io.Dataset) -> tuple[str, ...]:
    """The names that `settings.builder` gave the data set, else those of its type."""
    from paddle_hrfamily.host.classes import class_table

    section = {"type": type(dataset).__name__, "num_classes": dataset.num_classes}
    return getattr(dataset, "class_names", None) or class_table({"val_dataset": section}).names


def _reported(evaluate: Callable) -> Callable:
    from paddleseg.utils import logger, metrics

    from paddle_hrfamily.host.predicting.inference import mirrored_classes

    def reported(*args: object, **kwargs: object) -> Scores:
        bound = inspect.signature(evaluate).bind(*args, **kwargs)
        bound.apply_defaults()
        dataset = bound.arguments["eval_dataset"]
        if hasattr(dataset, "evaluate"):
            return _by_its_own_measures(dataset, bound.arguments)
        counter = _Counter(dataset)
        recording = Overlay(metrics, calculate_area=counter.calculate_area)
        with borrowed(core_module("val"), metrics=recording), mirrored_classes(dataset, dataset.num_classes):
            scores = Scores(evaluate(*args, **kwargs))
        scores.report = Report(counter.total(), class_names(dataset), dataset.ignore_index, len(dataset))
        if bound.arguments["print_detail"]:
            logger.info("[EVAL] Per class:\n" + scores.report.table())
        return scores

    return reported


def _by_its_own_measures(dataset: paddle.io.Dataset, arguments: dict[str, Any]) -> Scores:
    from paddle_hrfamily.host.predicting.inference import InferenceOptions

    inference = InferenceOptions.read({**arguments, "aug_pred": arguments["aug_eval"]})
    names = ("precision", "amp_level", "num_workers", "print_detail")
    options = EvaluationOptions(inference, **{name: arguments[name] for name in names if name in arguments})
    return dataset.evaluate(arguments["model"], options)


def gathered(values: np.ndarray) -> np.ndarray:
    """The sum over all processes: with several, each has filled in its own part of an array of zeros."""
    if paddle.distributed.get_world_size() == 1:
        return values
    total = paddle.to_tensor(values)
    paddle.distributed.all_reduce(total)
    return total.numpy()


class _Counter:
    """Adds up the pixel counts of all images, each once: with several processes, PaddleSeg repeats some to fill up."""

    def __init__(self, dataset: paddle.io.Dataset) -> None:
        environment = paddle.distributed.ParallelEnv()
        self.dataset = dataset
        self.ranks, self.index = environment.nranks, environment.rank
        self.counts = np.zeros((dataset.num_classes + 2, dataset.num_classes + 1), dtype="int64")

    def calculate_area(
        self, pred: paddle.Tensor, label: paddle.Tensor, num_classes: int, ignore_index: int = 255
    ) -> tuple[paddle.Tensor, ...]:
        counts = pixel_counts(pred, label, num_classes, ignore_index)
        if self.index < len(self.dataset):
            self.counts += counts
        self.index += self.ranks
        return tuple(paddle.to_tensor(area) for area in areas(counts, ignore_index))

    def total(self) -> np.ndarray:
        return gathered(self.counts)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=np.asarray(whole) != 0)
