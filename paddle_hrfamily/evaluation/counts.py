"""Pixels counted by label and prediction: what every measure of a segmentation is made of."""

from __future__ import annotations

import numpy as np
import paddle


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


def gathered(values: np.ndarray) -> np.ndarray:
    """The sum over all processes: with several, each has filled in its own part of an array of zeros."""
    if paddle.distributed.get_world_size() == 1:
        return values
    total = paddle.to_tensor(values)
    paddle.distributed.all_reduce(total)
    return total.numpy()
