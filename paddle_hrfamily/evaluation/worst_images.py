"""Every image by itself, and pictures of the worst: by the mean IoU of the classes that its label has."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import paddle

from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.data.classes import ClassTable
from paddle_hrfamily.evaluation.counts import gathered
from paddle_hrfamily.visualization import drawing

_WIDTH = 420  # of a picture's columns, at most, in pixels
_QUALITY = 85  # of JPEG


class ImageScores:
    """Scores every image, and keeps what the worst were predicted as.

    Args:
        dataset: with images in files, or without: then pictures are of what its transforms made of them.
        table: names and colours of the classes.
        most: pictures of the worst.
        read: makes (H, W, 3) RGB uint8 of an image's file.
    """

    def __init__(
        self,
        dataset: paddle.io.Dataset,
        table: ClassTable,
        most: int,
        read: Callable[[Path], np.ndarray] = image_files.visible,
    ) -> None:
        self.dataset, self.table, self.most, self.read = dataset, table, most, read
        self.scores = np.zeros((len(dataset), 2))  # mean IoU, pixel accuracy; -1 where nothing is labelled
        self._worst: list[tuple[float, int, np.ndarray, np.ndarray]] = []  # a heap whose first is the best of them

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        self.scores[index] = scores = score(predicted, label, len(self.table), self.dataset.ignore_index)
        if scores[0] < 0 or not self.most:
            return
        small = np.uint8 if len(self.table) < 255 else np.int32
        entry = -scores[0], -index, predicted.astype(small), label.astype(np.int32)
        if len(self._worst) < self.most:
            heapq.heappush(self._worst, entry)
        elif entry[:2] > self._worst[0][:2]:
            heapq.heapreplace(self._worst, entry)

    def report(self, counts: np.ndarray) -> ImageReport:
        scores = gathered(self.scores)
        names = [self._name(index) for index in range(len(scores))]
        order = [int(index) for index in np.argsort(scores[:, 0], kind="stable") if scores[index, 0] >= 0]
        worst = order[: self.most]
        return ImageReport(tuple(names), scores, dict(zip(worst, self._pictures(worst))))

    def _name(self, index: int) -> str:
        files = getattr(self.dataset, "file_list", None)
        return str(files[index][0]) if files else f"image {index}"

    def _pictures(self, worst: list[int]) -> list[bytes]:
        """The JPEG of each, in all processes: each draws its own, and their sum is all of them."""
        mine = {-number: (predicted, label) for _, number, predicted, label in self._worst}
        files = [self._draw(index, *mine[index]) if index in mine else b"" for index in worst]
        lengths = gathered(np.array([len(file) for file in files], "int64"))
        content = np.zeros((len(worst), int(lengths.max(initial=0))), "int32")
        for row, file in zip(content, files):
            row[: len(file)] = np.frombuffer(file, np.uint8)
        return [row[:length].astype(np.uint8).tobytes() for row, length in zip(gathered(content), lengths)]

    def _draw(self, index: int, predicted: np.ndarray, label: np.ndarray) -> bytes:
        """image | truth | prediction | errors: those in red."""
        image = self._image(index, label.shape)
        known = (label != self.dataset.ignore_index) & (label >= 0) & (label < len(self.table))
        wrong = known & (predicted != label)
        columns = {
            "image": image,
            "truth": drawing.overlay(image, np.where(known, label, len(self.table)), self.table, 0.6),
            "prediction": drawing.overlay(image, predicted, self.table, 0.6),
            "errors": np.where(wrong[..., None], (220, 30, 30), image // 2 + 100).astype(np.uint8),
        }
        size = _WIDTH, max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
        if image.shape[1] > _WIDTH:
            columns = {name: cv2.resize(column, size, interpolation=cv2.INTER_AREA) for name, column in columns.items()}
        row = drawing.side_by_side(columns)
        picture = drawing.with_legend(row, self.table, drawing.shares(np.where(known, label, -1), self.table))
        _, content = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
        )
        return content.tobytes()

    def _image(self, index: int, shape: tuple[int, ...]) -> np.ndarray:
        path = Path(self._name(index))
        if path.is_file():
            image = drawing.as_rgb(self.read(path))
        else:
            planes = self.dataset[index]["img"][:3]
            low, high = planes.min(), planes.max()
            image = drawing.as_rgb((255 * (planes - low) / max(high - low, 1e-6)).transpose(1, 2, 0).astype(np.uint8))
        return image if image.shape[:2] == shape else cv2.resize(image, shape[::-1])


@dataclass(frozen=True)
class ImageReport:
    """
    Attributes:
        names: of the N images.
        scores: (N, 2) mean IoU and pixel accuracy, -1 for an image without labelled pixels.
        pictures: number of an image -> JPEG, the worst first.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    pictures: dict[int, bytes]

    def table(self) -> str:
        lines = [f"  {self.scores[index, 0]:.4f}  {self.names[index]}" for index in self.pictures]
        return "\n".join(["Worst images, by mean IoU of the classes in their labels:", *lines]) if lines else ""

    def to_json(self) -> dict[str, object]:
        entries = [
            {"name": name, "miou": miou if miou >= 0 else None, "accuracy": accuracy if accuracy >= 0 else None}
            for name, (miou, accuracy) in zip(self.names, self.scores.tolist())
        ]
        return {"each_image": entries}


def score(predicted: np.ndarray, label: np.ndarray, classes: int, ignore_index: int) -> tuple[float, float]:
    """Mean IoU over the classes that the label has, and accuracy of its pixels; -1 each where it has none."""
    known = (label != ignore_index) & (label >= 0) & (label < classes)
    truth, found = label[known], np.where((predicted >= 0) & (predicted < classes), predicted, classes)[known]
    if not truth.size:
        return -1.0, -1.0
    labelled, assigned = (np.bincount(values, minlength=classes + 1)[:classes] for values in (truth, found))
    hits = np.bincount(truth[truth == found], minlength=classes)[:classes]
    present = labelled > 0
    iou = hits[present] / (labelled + assigned - hits)[present]
    return float(iou.mean()), float(hits.sum() / truth.size)
