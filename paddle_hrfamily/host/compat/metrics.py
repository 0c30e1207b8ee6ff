"""PaddleSeg's areas of intersection, prediction and label, from one histogram of (label, prediction) pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle

from paddle_hrfamily.host.overlay import wrap


def areas_in_one_pass() -> None:
    """Symptom: ValueError from concat at the first evaluation. Cause: `concat` of sums that have no axis.

    Kept even where PaddleSeg repairs that: one histogram instead of a loop over the classes takes 1/20 of the time.
    """
    from paddleseg.utils import metrics

    wrap(metrics, "calculate_area", _areas_from_counts)


def _areas_from_counts(_: Callable) -> Callable:
    def calculate_area(
        pred: paddle.Tensor, label: paddle.Tensor, num_classes: int, ignore_index: int = 255
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Pixels per class (num_classes,) int64: where both agree, of the prediction, of the label."""
        counts = pixel_counts(pred, label, num_classes, ignore_index)
        return tuple(paddle.to_tensor(area) for area in areas(counts, ignore_index))

    return calculate_area


def pixel_counts(pred: paddle.Tensor, label: paddle.Tensor, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    """Count every (label, prediction) pair of two equally shaped class maps, axis 1 of length 1 allowed in either.

    Returns:
        (num_classes + 2, num_classes + 1) int64. Rows: the classes, other values, ignored. Columns: the classes, other.

    Raises:
        ValueError: the shapes differ.
    """
    pred, label = (x.squeeze(1) if x.ndim == 4 else x for x in (pred, label))
    if list(pred.shape) != list(label.shape):
        raise ValueError(f"Shape of `pred` and `label should be equal, but there are {pred.shape} and {label.shape}.")
    xp = np
    if label.place.is_gpu_place():
        xp = paddle  # on the device a histogram is cheaper than moving the maps
        pred, label = pred.astype("int64").flatten(), label.flatten()
    else:  # Paddle's CPU kernels take four times as long as numpy's
        pred, label = pred.numpy().ravel(), label.numpy().ravel()
    row = xp.where((label >= 0) & (label < num_classes), label, xp.full_like(label, num_classes))
    row = xp.where(label == ignore_index, xp.full_like(label, num_classes + 1), row)
    column = xp.where((pred >= 0) & (pred < num_classes), pred, xp.full_like(pred, num_classes))
    shape = (num_classes + 2, num_classes + 1)
    counts = xp.bincount(row * shape[1] + column, minlength=shape[0] * shape[1])
    return np.asarray(counts).reshape(shape).astype("int64")


def areas(counts: np.ndarray, ignore_index: int = 255) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PaddleSeg's (intersection, prediction, label) areas, each (num_classes,), from `pixel_counts`.

    As in PaddleSeg, a prediction also counts where the label is no class but not ignored, and an `ignore_index` that is
    a class keeps its label area.
    """
    num_classes = counts.shape[1] - 1
    intersection = np.diagonal(counts[:num_classes, :num_classes]).copy()
    prediction = counts[: num_classes + 1, :num_classes].sum(axis=0)
    label = counts[:num_classes].sum(axis=1)
    if 0 <= ignore_index < num_classes:
        label[ignore_index] = counts[num_classes + 1].sum()
    return intersection, prediction, label
