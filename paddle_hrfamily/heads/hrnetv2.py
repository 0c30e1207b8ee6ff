"""The HRNetV2 representation head (HRNet section 3.4, figure 4b; U-HRNet section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.layers import ConvBN, classifier
from paddle_hrfamily.multires import representation, representation_channels


@registry.head
class HRNetV2Head(nn.Layer):
    """All streams at the finest resolution, concatenated, mixed by a 1×1, classified by a 1×1.

    On a backbone that ends in its finest stream alone (`finest_alone`), this is HRNetV1's head; with `widen` 15 there,
    HRNetV1h's, which has as many channels as HRNetV2 has from all streams (figure 10a: C against C + 2C + 4C + 8C).

    features [(N, feat_channels[i], h_i, w_i)], finest first -> [logits (N, num_classes, h_0, w_0), *auxiliary].
    The mixing convolution has a bias before its batch norm, as in the official code and its weights.

    Args:
        feat_channels: channels of the features.
        num_classes: classes to tell apart.
        channel_pool: average channel pairs before concatenating (U-HRNet).
        align_corners: corner handling of the resizes.
        widen: the mixing convolution makes this many times as many channels as it gets.
        auxiliary: add a second classifier for deep supervision, on the finest feature alone; training only.
    """

    def __init__(
        self,
        feat_channels: Sequence[int],
        num_classes: int,
        *,
        channel_pool: bool = False,
        align_corners: bool = False,
        widen: int = 1,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.channel_pool = channel_pool
        self.align_corners = align_corners
        channels = representation_channels(feat_channels, channel_pool)
        self.mix = ConvBN(channels, channels * widen, 1, bias=True)
        self.classify = classifier(channels * widen, num_classes)
        self.auxiliary = _auxiliary_classifier(feat_channels[0], num_classes) if auxiliary else None

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        x = representation(feats, self.channel_pool, self.align_corners)  # (N, channels, h_0, w_0)
        logits = [self.classify(self.mix(x))]
        if self.auxiliary is not None and self.training:
            logits.append(self.auxiliary(feats[0]))
        return logits


def _auxiliary_classifier(channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(ConvBN(channels, channels, 1), classifier(channels, num_classes))
