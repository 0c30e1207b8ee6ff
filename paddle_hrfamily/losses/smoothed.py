"""Cross entropy against softened labels (Szegedy et al., arXiv 1512.00567, section 7)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.losses.hard_pixels import WeightedCrossEntropy


@registry.loss
class SmoothedCrossEntropyLoss(WeightedCrossEntropy):
    """Cross entropy in which a pixel's class has 1 - ε of the truth, and all classes together, that one too, share ε.

    Averaged over the labelled pixels as PaddleSeg's CrossEntropyLoss, which it is for ε = 0: by their class weights.

    Args:
        label_smoothing: ε, from 0 to below 1.
        weight: one number for each class.
        ignore_index: the label that stands for "none".

    Raises:
        UserError: ε or the weights are out of range; in use, another number of weights than of classes.
    """

    def __init__(
        self, label_smoothing: float = 0.1, weight: Sequence[float] | None = None, ignore_index: int = 255
    ) -> None:
        super().__init__("SmoothedCrossEntropyLoss", weight, ignore_index)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"SmoothedCrossEntropyLoss: label_smoothing is {label_smoothing}; it is from 0 to below 1")
        self.label_smoothing = label_smoothing

    def forward(self, logits: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """logits (N, C, H, W), label (N, H, W) or (N, 1, H, W) -> a number."""
        loss, weight, _ = self.pixels(logits, label)
        of_all = -F.log_softmax(logits, axis=1).mean(axis=1, keepdim=True)  # (N, 1, H, W)
        loss = (1 - self.label_smoothing) * loss + self.label_smoothing * of_all
        return (loss * weight).sum() / weight.sum().clip(min=1e-8)
