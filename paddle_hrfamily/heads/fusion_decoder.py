"""The light decoder that Specialize and Fuse puts on a ResNet (section 5.1.2), instead of dilating it."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_hrfamily.layers import ConvBN
from paddle_hrfamily.multires import FusionLayer, Layout, Style


class FusionDecoder(nn.Layer):
    """Each stage reduced by a 1×1 to the width of HRNet's stream, then one fusion layer of HRNet's over all of them.

    features [(N, feat_channels[i], h_i, w_i)] at strides 4, 8, 16, 32 -> the same sizes with width·2^i channels, in
    `feat_channels`: with a width of 48, the 720 channels of HRNet-W48 in all.
    """

    def __init__(self, feat_channels: Sequence[int], width: int, *, align_corners: bool = False) -> None:
        super().__init__()
        layout = Layout(width, stages=())
        strides = [4 * 2**i for i in range(len(feat_channels))]
        self.feat_channels = [layout.channels(stride) for stride in strides]
        self.reduce = nn.LayerDict(
            {str(s): ConvBN(before, after, 1) for s, before, after in zip(strides, feat_channels, self.feat_channels)}
        )
        self.exchange = FusionLayer(strides, layout, Style(align_corners=align_corners), strides)

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        streams = {int(stride): reduce(x) for (stride, reduce), x in zip(self.reduce.items(), feats)}
        return list(self.exchange(streams).values())
