"""The feature pyramid of HRNetV2p (HRNet section 3.3, figure 4c; HRFPN in the official detection code)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.multires import representation, representation_channels


@registry.head
class PyramidHead(nn.Layer):
    """The HRNetV2 representation, mixed by a 1×1, then pooled by 1, 2, 4, … and a 3×3 convolution at every level.

    features [(N, feat_channels[i], h_i, w_i)], finest first -> [(N, channels, ceil(h_0/2^i), ceil(w_0/2^i))] of
    `levels` levels. No batch norm and no activation, as in the official code. A cell that reaches over the edge, where
    2^i does not divide the size, averages what there is of it; the official code takes no such size.

    Args:
        feat_channels: channels of the features.
        channels: channels of every level.
        levels: number of levels.
        channel_pool: average channel pairs before concatenating (U-HRNet).
        align_corners: corner handling of the resizes.
    """

    def __init__(
        self,
        feat_channels: Sequence[int],
        *,
        channels: int = 256,
        levels: int = 5,
        channel_pool: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.channel_pool = channel_pool
        self.align_corners = align_corners
        self.reduce = _conv(representation_channels(feat_channels, channel_pool), channels, 1)
        self.levels = nn.LayerList(_conv(channels, channels, 3) for _ in range(levels))

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        x = self.reduce(representation(feats, self.channel_pool, self.align_corners))
        return [conv(_pool(x, 2**i)) for i, conv in enumerate(self.levels)]


def _pool(x: paddle.Tensor, factor: int) -> paddle.Tensor:
    return x if factor == 1 else F.avg_pool2d(x, factor, factor, ceil_mode=True, exclusive=True)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2D:
    """Weights uniform with variance 1 / fan-in to begin with (Xavier's by Caffe2's name), biases 0."""
    init = paddle.ParamAttr(initializer=nn.initializer.KaimingUniform(negative_slope=1.0, nonlinearity="leaky_relu"))
    return nn.Conv2D(in_channels, out_channels, kernel_size, padding=kernel_size // 2, weight_attr=init)
