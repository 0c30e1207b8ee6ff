"""Semantic prediction guidance, "supervise and excite" (SPGNet section 3.4, figure 3), and what it is held against.

Table 4 puts two unsupervised modules in its place, which make the mask of the decoder's features instead of the
prediction: Squeeze-and-Excitation (arXiv 1709.01507) and Gather-Excite (arXiv 1810.12348). How, the paper does not say.
Here they differ from SPG in the mask alone: it weighs the same transformed features, beside the same identity. Their
own papers leave a choice too: SE reduces to a sixteenth, its default; of GE's forms it is the one with learned
depthwise convolutions, over patches of 8×8, as its global extent would fix the image's size.
"""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.layers import ConvBN, resize_as, unflatten_as

Guidance = Literal["sigmoid", "softmax", "sum"]
GUIDANCES: tuple[Guidance, ...] = ("sigmoid", "softmax", "sum")
FeatureMask = Literal["se", "ge"]
FEATURE_MASKS: tuple[FeatureMask, ...] = ("se", "ge")
_REDUCTION = 16  # of SE's bottleneck
_HALVINGS = 3  # of GE's gathering: an extent of 2^3 cells


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


class FeatureGuidance(nn.Layer):
    """SPG's unsupervised counterpart (table 4): the features of one stage weigh themselves.

    decoded (N, channels, h, w) -> (N, out_channels, h, w); `gathered` is the decoded feature again.

    Args:
        channels: of the decoder.
        out_channels: what the next encoder takes.
        mask: "se" has one value a channel, of the average over the image; "ge" one for every 8×8 cells and channel.
        identity: add the decoder's output to the result, as in a residual block.
    """

    def __init__(self, channels: int, out_channels: int, *, mask: FeatureMask, identity: bool) -> None:
        super().__init__()
        self.identity = identity
        self.transform = ConvBN(channels, channels, 1)
        self.attend = _squeeze(channels) if mask == "se" else _gather(channels)
        self.squeezes = mask == "se"
        self.link = ConvBN(channels, out_channels, 1)

    def forward(self, decoded: paddle.Tensor, gathered: paddle.Tensor) -> paddle.Tensor:
        x = self.transform(decoded) * self.mask(gathered)
        return self.link(x + decoded if self.identity else x)

    def mask(self, decoded: paddle.Tensor) -> paddle.Tensor:
        """Values of 0..1: (N, channels, 1, 1) of "se", (N, channels, h, w) of "ge"."""
        if self.squeezes:
            return F.sigmoid(self.attend(decoded.mean(axis=[2, 3], keepdim=True)))
        return F.sigmoid(resize_as(self.attend(decoded), decoded, mode="nearest"))


def _squeeze(channels: int) -> nn.Sequential:
    """SE's two fully connected layers, as 1×1 convolutions."""
    width = max(1, channels // _REDUCTION)
    return nn.Sequential(nn.Conv2D(channels, width, 1), nn.ReLU(), nn.Conv2D(width, channels, 1))


def _gather(channels: int) -> nn.Sequential:
    """GE's strided depthwise convolutions, each with its batch norm and, between them, a ReLU."""
    layers: list[nn.Layer] = []
    for _ in range(_HALVINGS):
        conv = nn.Conv2D(channels, channels, 3, stride=2, padding=1, groups=channels, bias_attr=False)
        layers += [conv, nn.BatchNorm2D(channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
