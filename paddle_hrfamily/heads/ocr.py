"""Object-contextual representations (Yuan, Chen, Wang: arXiv 1909.11065), the OCR of the HRNet and U-HRNet tables.

Three steps: soft object regions, one representation per region, and every pixel's context as a mixture of those.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.layers import ConvBN, classifier, unflatten_as
from paddle_hrfamily.multires import representation, representation_channels


@registry.head
class OCRHead(nn.Layer):
    """features [(N, feat_channels[i], h_i, w_i)], finest first -> [logits, soft regions], (N, num_classes, h_0, w_0).

    The soft regions are an auxiliary output in training, and in evaluation what the regions are weighed by.

    Args:
        feat_channels: channels of the features; all are brought to the finest and concatenated.
        num_classes: classes to tell apart; each has one region.
        channels: of the pixel and object representations.
        key_channels: of queries, keys and values.
        dropout: share of the channels left out of the final representation in training, as in the official code.
        channel_pool: average channel pairs before concatenating (U-HRNet).
        align_corners: corner handling of the resizes.
    """

    def __init__(
        self,
        feat_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 512,
        key_channels: int = 256,
        dropout: float = 0.05,
        channel_pool: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.channel_pool = channel_pool
        self.align_corners = align_corners
        concatenated = representation_channels(feat_channels, channel_pool)
        self.regions = nn.Sequential(
            ConvBN(concatenated, concatenated, 1, bias=True), classifier(concatenated, num_classes)
        )
        self.pixels = ConvBN(concatenated, channels, 3, bias=True)
        self.attention = ObjectAttention(channels, key_channels)
        self.augment = ConvBN(2 * channels, channels, 1)
        self.dropout = nn.Dropout2D(dropout)
        self.classifier = classifier(channels, num_classes)

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        x = representation(feats, self.channel_pool, self.align_corners)  # (N, concatenated, h_0, w_0)
        regions = self.regions(x)  # (N, K, h_0, w_0)
        pixels = self.pixels(x)  # (N, channels, h_0, w_0)
        objects = gather(pixels, regions)  # (N, channels, K, 1)
        context = self.attention(pixels, objects)  # (N, channels, h_0, w_0)
        augmented = self.augment(paddle.concat([context, pixels], axis=1))
        logits = self.classifier(self.dropout(augmented))
        return [logits, regions] if self.training else [logits]


def gather(pixels: paddle.Tensor, regions: paddle.Tensor) -> paddle.Tensor:
    """Every region's mean pixel (N, C, K, 1), weighed by the softmax over all pixels of its logits (N, K, H, W)."""
    weights = F.softmax(regions.flatten(2), axis=2)  # (N, K, H·W)
    return paddle.matmul(pixels.flatten(2), weights, transpose_y=True).unsqueeze(3)


class ObjectAttention(nn.Layer):
    """Pixels (N, C, H, W) ask objects (N, C, K, 1) for context (N, C, H, W): scaled dot-product attention."""

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.scale = key_channels**-0.5
        self.query = nn.Sequential(ConvBN(channels, key_channels, 1), ConvBN(key_channels, key_channels, 1))
        self.key = nn.Sequential(ConvBN(channels, key_channels, 1), ConvBN(key_channels, key_channels, 1))
        self.value = ConvBN(channels, key_channels, 1)
        self.out = ConvBN(key_channels, channels, 1)

    def forward(self, pixels: paddle.Tensor, objects: paddle.Tensor) -> paddle.Tensor:
        query = self.query(pixels)  # (N, key_channels, H, W)
        key, value = self.key(objects).flatten(2), self.value(objects).flatten(2)  # (N, key_channels, K)
        relation = paddle.matmul(key, query.flatten(2), transpose_x=True) * self.scale  # (N, K, H·W)
        context = paddle.matmul(value, F.softmax(relation, axis=1))  # (N, key_channels, H·W)
        return self.out(unflatten_as(context, query))
