"""The decoder of a SPGNet stage (SPGNet sections 3.2 and 3.3, figure 2a and 2b): from coarse to fine, step by step.

Features at strides 4 to 32 -> as many maps of one width, finest first. `UpsampleModule` is the paper's own step,
`PyramidModule` that of a feature pyramid (table 11), and `ImagePooling` what the first step starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import paddle
from paddle import nn

from paddle_hrfamily.blocks import Bottleneck
from paddle_hrfamily.heads.image_pooling import ImagePooling
from paddle_hrfamily.layers import ConvBN, resize_as

Upsample = Literal["residual", "fpn"]
UPSAMPLES: tuple[Upsample, ...] = ("residual", "fpn")


class Decoder(nn.Layer):
    """[(N, feat_channels[i], h_i, w_i)] finest first -> [(N, channels, h_i, w_i)].

    Args:
        feat_channels: channels of the encoder's features.
        channels: of all maps here; a multiple of 4.
        image_pooling: makes the image-level map that the coarsest step merges, or None to start without.
        upsample: "residual", or "fpn" for table 11's comparison.
        align_corners: corner handling of the bilinear resizes.
    """

    def __init__(
        self,
        feat_channels: Sequence[int],
        channels: int,
        *,
        image_pooling: ImagePooling | None,
        upsample: Upsample = "residual",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.image_pooling = image_pooling
        self.steps = nn.LayerList()
        for level, in_channels in enumerate(feat_channels):
            merges = level < len(feat_channels) - 1 or image_pooling is not None
            if upsample == "residual":
                step = UpsampleModule(in_channels, channels, merges=merges, align_corners=align_corners)
            else:
                step = PyramidModule(in_channels, channels, smooth=level == 0)
            self.steps.append(step)

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        x = None if self.image_pooling is None else self.image_pooling(feats[-1])
        outputs = []
        for feat, step in zip(reversed(feats), reversed(list(self.steps))):
            x = step(feat, x)
            outputs.append(x)
        return outputs[::-1]


class UpsampleModule(nn.Layer):
    """Figure 2b: the feature at the decoder's width, plus the coarser map resized to it, then one more block.

    All are bottlenecks with a middle of a quarter of the width. The paper's parameters and FLOPs ask for two of equal
    width, where its text has one. The second is taken to follow the first that reduces the feature: of the step that
    merges nothing, in a decoder without image-level map, they ask for one less.
    """

    def __init__(self, in_channels: int, channels: int, *, merges: bool, align_corners: bool) -> None:
        super().__init__()
        width = channels // Bottleneck.expansion
        self.lateral = nn.Sequential(Bottleneck(in_channels, width), Bottleneck(channels, width))
        self.fuse = Bottleneck(channels, width) if merges else None
        self.align_corners = align_corners

    def forward(self, feat: paddle.Tensor, coarser: paddle.Tensor | None) -> paddle.Tensor:
        x = self.lateral(feat)
        if coarser is None or self.fuse is None:
            return x
        return self.fuse(x + resize_as(coarser, x, self.align_corners))


class PyramidModule(nn.Layer):
    """A step of a feature pyramid (arXiv 1612.03144): a 1×1 on the feature, plus the coarser map by nearest neighbour.

    Only the map that is used for the prediction is then smoothed by a 3×3; every convolution has its batch norm.
    """

    def __init__(self, in_channels: int, channels: int, *, smooth: bool) -> None:
        super().__init__()
        self.lateral = ConvBN(in_channels, channels, 1)
        self.smooth = ConvBN(channels, channels, 3) if smooth else None

    def forward(self, feat: paddle.Tensor, coarser: paddle.Tensor | None) -> paddle.Tensor:
        x = self.lateral(feat)
        if coarser is not None:
            x = x + resize_as(coarser, x, mode="nearest")
        return x if self.smooth is None else self.smooth(x)
