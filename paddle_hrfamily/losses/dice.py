"""Dice over a whole batch, as TransUNet trains (arXiv 2102.04306, `DiceLoss` in utils.py of its repository).

PaddleSeg's DiceLoss is computed for each image, without squares and smoothed by 1: an organ that an image does not show
costs nearly a whole Dice, however well it is predicted.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_hrfamily import registry


@registry.loss
class BatchDiceLoss(nn.Layer):
    """1 - (2·Σpt + ε) / (Σp² + Σt² + ε), averaged over the classes; the sums go over all labelled pixels of the batch.

    p is the softmax of the logits, t 1 where the label is the class and 0 elsewhere.

    Args:
        smooth: ε; a class that is in no label and has probability 0 everywhere costs nothing.
        ignore_index: the label that stands for "none".
    """

    def __init__(self, smooth: float = 1e-5, ignore_index: int = 255) -> None:
        super().__init__()
        self.smooth = smooth
        self.ignore_index = ignore_index

    def forward(self, logits: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """logits (N, C, H, W), label (N, H, W) or (N, 1, H, W) -> a number, 0..1."""
        classes = logits.shape[1]
        label = label.astype("int64").reshape([logits.shape[0], *logits.shape[2:]])
        labelled = label != self.ignore_index
        mask = labelled.unsqueeze(1).astype("float32")  # (N, 1, H, W)
        known = paddle.where(labelled, label, paddle.zeros_like(label))
        target = F.one_hot(known, classes).transpose([0, 3, 1, 2]) * mask  # (N, C, H, W)
        probability = F.softmax(logits.astype("float32"), axis=1) * mask
        pixels = [0, 2, 3]
        both = (probability * target).sum(pixels)  # (C,)
        total = probability.square().sum(pixels) + target.sum(pixels)
        return (1 - (2 * both + self.smooth) / (total + self.smooth)).mean()
