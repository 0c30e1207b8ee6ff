"""Cross entropy of the hard pixels with class weights, as HRNet's and DDRNet's training code computes it.

The reference is `OhemCrossEntropy` in lib/core/criterion.py of the official HRNet repository (branch HRNet-OCR), which
DDRNet's training code and, with the same rule, SPGNet's first author's use as well. PaddleSeg's OhemCrossEntropyLoss
takes no class weights, keeps one pixel less, and keeps all of an image with few labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.errors import UserError

_BEYOND = 2.0  # stands for the probability of a pixel without a label: no labelled one is as easy


class WeightedCrossEntropy(nn.Layer):
    """The losses of single pixels, each times the weight of its class."""

    def __init__(self, name: str, weight: Sequence[float] | None, ignore_index: int) -> None:
        super().__init__()
        if weight is not None and not (
            isinstance(weight, (list, tuple)) and all(isinstance(w, (int, float)) and w >= 0 for w in weight)
        ):
            raise UserError(f"{name}: weight is {weight!r}; give a number of 0 or more for each class, or leave it out")
        self._name = name
        self.weight = None if weight is None else paddle.to_tensor(list(map(float, weight)), dtype="float32")
        self.ignore_index = ignore_index

    def pixels(self, logits: paddle.Tensor, label: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Cross entropy, its weight (0 without a label) and whether there is a label, each (N, 1, H, W).

        Args:
            logits: (N, C, H, W).
            label: (N, H, W) or (N, 1, H, W), 0..C-1 or ignore_index.

        Raises:
            UserError: there are not as many weights as classes.
        """
        classes = logits.shape[1]
        if self.weight is not None and self.weight.shape[0] != classes:
            raise UserError(f"{self._name}: weight has {self.weight.shape[0]} numbers, and there are {classes} classes")
        label = label.astype("int64").reshape([logits.shape[0], 1, *logits.shape[2:]])
        labelled = label != self.ignore_index
        loss = F.cross_entropy(logits, label, ignore_index=self.ignore_index, reduction="none", axis=1)
        weight = labelled.astype(loss.dtype)
        if self.weight is not None:
            known = paddle.where(labelled, label, paddle.zeros_like(label))
            weight = weight * paddle.gather(self.weight, known.flatten()).reshape(label.shape).astype(loss.dtype)
        return loss, weight, labelled


@registry.loss
class WeightedOhemCrossEntropyLoss(WeightedCrossEntropy):
    """Online hard example mining: the mean of the weighted losses of the pixels whose class is least probable.

    Sorted by the probability p that the network gives to the true class, pixel number `min_kept` (counted from 0; the
    last where there are fewer) sets a limit, which is at least `thresh`; pixels with p below the limit are kept. Their
    losses, each times its class's weight, are averaged over their number. 0 where none is kept.

    Args:
        thresh: probability, 0..1, below which a pixel is always kept.
        min_kept: pixels of a batch, on each device, that are kept at least.
        weight: one number for each class.
        ignore_index: the label that stands for "none".

    Raises:
        UserError: weights that are no numbers of 0 or more; in use, another number of them than of classes.
    """

    def __init__(
        self,
        thresh: float = 0.7,
        min_kept: int = 100000,
        weight: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__("WeightedOhemCrossEntropyLoss", weight, ignore_index)
        self.thresh = thresh
        self.min_kept = max(1, min_kept)

    def forward(self, logits: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """logits (N, C, H, W), label (N, H, W) or (N, 1, H, W) -> a number."""
        loss, weight, labelled = self.pixels(logits, label)
        probability = paddle.exp(-loss.detach())
        probability = paddle.where(labelled, probability, paddle.full_like(probability, _BEYOND))
        kept = paddle.logical_and(labelled, probability < self._limit(probability, labelled))
        kept = kept.astype(loss.dtype)
        return (loss * weight * kept).sum() / kept.sum().clip(min=1)

    def _limit(self, probability: paddle.Tensor, labelled: paddle.Tensor) -> paddle.Tensor:
        flat = probability.flatten()
        count = min(self.min_kept + 1, flat.shape[0])
        limit = paddle.topk(flat, count, largest=False)[0][-1]
        easiest = paddle.where(labelled, probability, paddle.zeros_like(probability)).max()
        limit = paddle.where(limit < _BEYOND, limit, easiest)  # fewer labelled pixels than min_kept
        return limit.clip(min=self.thresh)


@registry.loss
class WeightedPixelCrossEntropyLoss(WeightedCrossEntropy):
    """The weighted losses of the labelled pixels, averaged over all pixels: those without a label count as 0.

    This is what the reference makes of an auxiliary output where the main one has hard example mining: its losses are
    not yet averaged when they are added, so that the number of all pixels divides them, and not the weights' sum.

    Args:
        weight, ignore_index: as in WeightedOhemCrossEntropyLoss.

    Raises:
        UserError: as there.
    """

    def __init__(self, weight: Sequence[float] | None = None, ignore_index: int = 255) -> None:
        super().__init__("WeightedPixelCrossEntropyLoss", weight, ignore_index)

    def forward(self, logits: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """logits (N, C, H, W), label (N, H, W) or (N, 1, H, W) -> a number."""
        loss, weight, _ = self.pixels(logits, label)
        return (loss * weight).mean()
