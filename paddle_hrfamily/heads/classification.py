"""The classification head of HRNet-W*-C (HRNet appendix C, figure 11)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.blocks import Bottleneck
from paddle_hrfamily.layers import ConvBN

WIDTHS = (32, 64, 128, 256)  # of the bottlenecks that bring the four streams to 128, 256, 512, 1024 channels
EMBEDDING = 2048


@registry.head
class ClassificationHead(nn.Layer):
    """Each stream is widened. From the finest on, each is strided and added to the next; the last is classified.

    features [(N, feat_channels[i], h_i, w_i)] of four strides, each twice the one before -> logits (N, num_classes).
    The strided and the 1×1 convolution have a bias before their batch norm, as in the official code and its weights.
    """

    def __init__(self, feat_channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        wide = [width * Bottleneck.expansion for width in WIDTHS]
        self.widen = nn.LayerList(Bottleneck(c, width) for c, width in zip(feat_channels, WIDTHS))
        self.fold = nn.LayerList(ConvBN(fine, coarse, 3, stride=2, bias=True) for fine, coarse in zip(wide, wide[1:]))
        self.expand = ConvBN(wide[-1], EMBEDDING, 1, bias=True)
        self.linear = nn.Linear(EMBEDDING, num_classes)

    def forward(self, feats: Sequence[paddle.Tensor]) -> paddle.Tensor:
        finest, *coarser = (widen(x) for widen, x in zip(self.widen, feats))
        x = finest
        for fold, coarse in zip(self.fold, coarser):
            x = coarse + fold(x)
        return self.linear(self.expand(x).mean(axis=[2, 3]))
