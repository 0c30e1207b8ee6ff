"""DDRNet's head, for the result and for deep supervision (sections III-D and III-E)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.layers import PreActConv, classifier


class PixelClassifier(nn.Layer):
    """A 3×3 and a 1×1 convolution, each with norm and ReLU in front: (N, in, h, w) -> logits (N, num_classes, h, w)."""

    def __init__(self, in_channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.mix = PreActConv(in_channels, width, 3)
        self.bn = nn.BatchNorm2D(width)
        self.classify = classifier(width, num_classes)

    def logits(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.classify(F.relu(self.bn(self.mix(x))))

    forward = logits


@registry.head
class DDRHead(PixelClassifier):
    """features [(N, feat_channels[0], h, w), supervised, …] -> [logits (N, num_classes, h, w), *auxiliary].

    Args:
        feat_channels: channels of the features: the result, and what deep supervision looks at.
        num_classes: classes to tell apart.
        width: channels between the two convolutions.
        auxiliary: a second such classifier on the second feature; training only.
    """

    def __init__(self, feat_channels: Sequence[int], num_classes: int, *, width: int, auxiliary: bool) -> None:
        super().__init__(feat_channels[0], width, num_classes)
        self.auxiliary = PixelClassifier(feat_channels[1], width, num_classes) if auxiliary else None

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        logits = [self.logits(feats[0])]
        if self.auxiliary is not None and self.training:
            logits.append(self.auxiliary(feats[1]))
        return logits
