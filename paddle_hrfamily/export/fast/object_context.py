"""OCR's head with its products in the order that takes least work, over pixels with their channels side by side.

The object context is φ(Σ_k w_k ρ(x_k)) with Σ_k w_k = 1 (equation 3 of arXiv 1909.11065), and φ begins with a linear
map: applied to the K object representations instead of every pixel, its work vanishes. The convolution of context and
pixels side by side is the sum of one on each, so that nothing is concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.export.fast.representation import convolution, folded
from paddle_hrfamily.heads import OCRHead
from paddle_hrfamily.layers import unflatten_as
from paddle_hrfamily.multires import representation


class ReorderedOCRHead(nn.Layer):
    """features [(N, feat_channels[i], h_i, w_i)], finest first -> [logits (N, num_classes, h_0, w_0)]; no training."""

    def __init__(self, head: OCRHead) -> None:
        super().__init__()
        self.channel_pool = head.channel_pool
        self.align_corners = head.align_corners
        self.regions, self.pixels, self.classifier = head.regions, head.pixels, head.classifier
        self.query, self.key, self.value = head.attention.query, head.attention.key, head.attention.value
        self.scale = head.attention.scale
        self.out = convolution(*folded(head.attention.out))
        weight, bias = folded(head.augment)
        of_context, of_pixels = np.split(weight, 2, axis=1)
        self.augment_context, self.augment_pixels = convolution(of_context), convolution(of_pixels, bias)

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        x = representation(feats, self.channel_pool, self.align_corners)
        pixels = self.pixels(x)  # (N, C, H, W)
        shares = F.softmax(self.regions(x).flatten(2), axis=2)  # (N, K, H·W)
        objects = paddle.matmul(shares, _rows(pixels)).transpose([0, 2, 1]).unsqueeze(3)  # (N, C, K, 1)
        key = self.key(objects).flatten(2)  # (N, key_channels, K)
        contexts = self.out(self.value(objects)).flatten(2).transpose([0, 2, 1])  # (N, K, C), before the ReLU
        relation = F.softmax(paddle.matmul(_rows(self.query(pixels)), key) * self.scale, axis=2)  # (N, H·W, K)
        context = F.relu(paddle.matmul(relation, contexts))  # (N, H·W, C)
        context = unflatten_as(context.transpose([0, 2, 1]), pixels)
        return [self.classifier(F.relu(self.augment_context(context) + self.augment_pixels(pixels)))]


def _rows(x: paddle.Tensor) -> paddle.Tensor:
    """(N, C, H, W) -> (N, H·W, C)."""
    return x.transpose([0, 2, 3, 1]).flatten(1, 2)
