"""The heatmap head of HRNetV1 (HRNet sections 3.3 and 4, figure 4a)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.layers import classifier


@registry.head
class PoseHead(nn.Layer):
    """A 1×1 convolution on the finest stream alone: features [(N, channels, h, w), …] -> heatmaps (N, joints, h, w)."""

    def __init__(self, channels: int, num_joints: int) -> None:
        super().__init__()
        self.heatmaps = classifier(channels, num_joints)

    def forward(self, feats: Sequence[paddle.Tensor]) -> paddle.Tensor:
        return self.heatmaps(feats[0])
