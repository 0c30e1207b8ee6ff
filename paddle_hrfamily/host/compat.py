"""What PaddleSeg 2.8.0 needs to run on Paddle 2.6 and 3.x: one function each, with symptom, cause, and when it can go.

`apply()` is called by registration; it may be repeated, and changes nothing that a later PaddleSeg has repaired.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import paddle
import paddle.nn.functional as F

from paddle_hrfamily.host.overlay import Overlay, borrowed, core_module, wrap


def apply() -> None:
    """Put every repair in place, in this process."""
    _losses_with_an_axis()
    _cross_entropy_in_one_dtype()
    _ohem_in_one_dtype()
    _dice_leaves_labels_alone()
    _areas_in_one_pass()


def _losses_with_an_axis() -> None:
    """Symptom: IndexError at the first log line. Cause: `l[0]` on losses that have no axis since Paddle 2.5.

    Goes with PaddleSeg > 2.8.0 (its source then has no `l[0]`). Models that compute their own losses are covered too.
    """
    import paddleseg.core

    train = core_module("train")
    if "l[0]" not in inspect.getsource(train.train):
        return
    wrap(train, "loss_computation", _with_axis)
    wrap(train, "train", _own_losses_with_axis)
    paddleseg.core.train = train.train


def _with_axis(loss_computation: Callable) -> Callable:
    def shaped(*args: object, **kwargs: object) -> list[paddle.Tensor]:
        return [loss.reshape([1]) for loss in loss_computation(*args, **kwargs)]

    return shaped


def _own_losses_with_axis(train: Callable) -> Callable:
    def shaped(model: paddle.nn.Layer, *args: object, **kwargs: object) -> None:
        if not hasattr(model, "loss_computation"):
            return train(model, *args, **kwargs)
        model.loss_computation = _with_axis(model.loss_computation)  # shadows the method, on this instance alone
        try:
            return train(model, *args, **kwargs)
        finally:
            del model.loss_computation

    return shaped


def _cross_entropy_in_one_dtype() -> None:
    """Symptom: TypeError "Type promotion". Cause: `mask * coef`, float32 times int64, which Paddle 3 refuses.

    With float labels every product in `_post_process_loss` has one dtype; only one_hot wants integers. Goes when
    PaddleSeg casts there itself.
    """
    if _mixes_dtypes():
        return
    from paddleseg.models.losses import CrossEntropyLoss

    wrap(CrossEntropyLoss, "_post_process_loss", _with_float_labels)


def _with_float_labels(post_process: Callable) -> Callable:
    from paddleseg.models.losses import cross_entropy_loss as module

    functional = Overlay(F, one_hot=lambda labels, num_classes: F.one_hot(labels.astype("int64"), num_classes))

    def in_one_dtype(
        self: object,
        logit: paddle.Tensor,
        label: paddle.Tensor,
        semantic_weights: paddle.Tensor | None,
        loss: paddle.Tensor,
    ) -> paddle.Tensor:
        with borrowed(module, F=functional):
            return post_process(self, logit, label.astype("float32"), semantic_weights, loss)

    return in_one_dtype


def _ohem_in_one_dtype() -> None:
    """Symptom: TypeError "Type promotion" as soon as more than min_kept pixels are labelled. Cause: float plus int64.

    `prob + (1 - valid_mask)` cannot be reached from outside, so this is the same loss written anew. Goes when PaddleSeg
    casts there itself.
    """
    if _mixes_dtypes():
        return
    from paddleseg.models.losses import OhemCrossEntropyLoss

    wrap(OhemCrossEntropyLoss, "forward", _ohem)


def _ohem(_: Callable) -> Callable:
    def forward(self: object, logit: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """logit (N, C, H, W), label (N, H, W) or (N, 1, H, W) -> mean loss over the hard pixels, no axis."""
        label = label.astype("int64").reshape([logit.shape[0], 1, *logit.shape[2:]])
        kept = label != self.ignore_index
        loss = F.cross_entropy(logit, label, ignore_index=self.ignore_index, reduction="none", axis=1)
        labelled = int(kept.sum())
        if 0 < self.min_kept < labelled:
            prob = paddle.where(kept, paddle.exp(-loss.detach()), paddle.full_like(loss, 2.0))  # unlabelled: beyond all
            hardest = paddle.topk(prob.flatten(), self.min_kept, largest=False)[0]
            kept = paddle.logical_and(kept, prob < max(self.thresh, float(hardest[-1])))
        kept = kept.astype(loss.dtype)
        return (loss * kept).mean() / (kept.mean() + self.EPS)

    return forward


def _dice_leaves_labels_alone() -> None:
    """Symptom: with MixedLoss, ignored pixels count as class 0 in every loss after DiceLoss, and in auxiliary heads.

    Cause: `labels[labels == ignore_index] = 0` writes into the batch. Goes when PaddleSeg copies first.
    """
    from paddleseg.models.losses import DiceLoss

    wrap(DiceLoss, "forward", _on_a_copy)


def _on_a_copy(forward: Callable) -> Callable:
    return lambda self, logits, labels: forward(self, logits, labels.clone())


def _areas_in_one_pass() -> None:
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


def _mixes_dtypes() -> bool:
    """Whether this Paddle multiplies float by int64. By version: a trial would claim a device at import."""
    return paddle.__version__.startswith("2.")
