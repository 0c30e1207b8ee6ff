"""Semantic prediction guidance, "supervise and excite" (SPGNet section 3.4, figure 3)."""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.layers import ConvBN, unflatten_as

Guidance = Literal["sigmoid", "softmax", "sum"]
GUIDANCES: tuple[Guidance, ...] = ("sigmoid", "softmax", "sum")


class SemanticGuidance(nn.Layer):
    """The prediction of one stage weighs the features that the next stage gets.

    decoded (N, channels, h, w), logits (N, num_classes, h, w) -> (N, out_channels, h, w).

    Args:
        channels: of the decoder.
        num_classes: of the logits.
        out_channels: what the next encoder takes.
        guidance: "sigmoid" multiplies by the guided attention (values 0..1 at every pixel and channel); "softmax" by
            one that adds up to 1 over the pixels of each channel; "sum" adds the transformed prediction instead.
        identity: add the decoder's output to the result, as in a residual block.
    """

    def __init__(
        self, channels: int, num_classes: int, out_channels: int, *, guidance: Guidance, identity: bool
    ) -> None:
        super().__init__()
        self.guidance = guidance
        self.identity = identity
        self.transform = ConvBN(channels, channels, 1)
        self.attend = ConvBN(num_classes, channels, 1, relu=False)
        self.link = ConvBN(channels, out_channels, 1)

    def forward(self, decoded: paddle.Tensor, logits: paddle.Tensor) -> paddle.Tensor:
        x, mask = self.transform(decoded), self.mask(logits)
        x = x + mask if self.guidance == "sum" else x * mask
        return self.link(x + decoded if self.identity else x)

    def mask(self, logits: paddle.Tensor) -> paddle.Tensor:
        """Logits -> the guided attention (N, channels, h, w); of "sum", the transformed prediction."""
        mask = self.attend(logits)
        if self.guidance == "softmax":
            return unflatten_as(F.softmax(mask.flatten(2), axis=2), mask)
        return F.sigmoid(mask) if self.guidance == "sigmoid" else mask

    def class_weights(self) -> paddle.Tensor:
        """(num_classes, channels): how much each class opens each channel of the guided attention (section 4.5).

        The convolution's weights, with the scale that the batch norm behind it gives their channels in evaluation.
        """
        norm = self.attend.bn
        scale = norm.weight / paddle.sqrt(norm._variance + norm._epsilon)  # (channels,)
        return self.attend.conv.weight[:, :, 0, 0].t() * scale
