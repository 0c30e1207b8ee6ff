"""DDRNet for classification: the network whose ImageNet weights the segmentation networks begin with."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.backbones import DDRNetTrunk
from paddle_hrfamily.layers import ConvBN
from paddle_hrfamily.models.segmentor import HeadOnBackbone
from paddle_hrfamily.registry import Entry, Family

# Tables I and III.
PUBLISHED = {"ddrnet_23_slim_cls": (7.57, 0.98), "ddrnet_23_cls": (28.22, 3.88), "ddrnet_39_cls": (40.13, 6.95)}
_IMAGENET = Entry(num_classes=1000, size=(224, 224), rule="billion_by_fvcore")


class DDRTail(nn.Layer):
    """The last fusion, from fine to coarse, and conv5_2 (tables I and II).

    [(N, c, H/8, W/8), (N, 4c, H/32, W/32)] -> logits (N, num_classes).
    """

    def __init__(self, channels: int, tail_width: int, num_classes: int) -> None:
        super().__init__()
        self.high_to_low = nn.Sequential(
            ConvBN(channels, channels * 2, 3, stride=2), ConvBN(channels * 2, channels * 4, 3, stride=2, relu=False)
        )
        self.mix = ConvBN(channels * 4, tail_width, 1)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.classify = nn.Linear(tail_width, num_classes)

    def forward(self, feats: list[paddle.Tensor]) -> paddle.Tensor:
        high, low = feats
        x = self.mix(F.relu(low + self.high_to_low(high)))
        return self.classify(self.pool(x).flatten(1))


@registry.model(Family("_cls", ("DDRNetTrunk",), _IMAGENET, published=PUBLISHED), in_configs=False)
class DDRNetClassifier(HeadOnBackbone):
    """image (N, in_channels, H, W), any H, W from 32 up -> logits (N, num_classes).

    A network and its weights. There is no way to train it here: PaddleSeg's trainer is for segmentation.

    Args:
        backbone: both streams of a DDRNet.
        num_classes: classes to tell apart, ImageNet's 1000 unless told otherwise.
        pretrained: as in HeadOnBackbone.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(self, backbone: DDRNetTrunk, num_classes: int = 1000, *, pretrained: str | None = None) -> None:
        head = DDRTail(backbone.feat_channels[0], backbone.layout.tail_width, num_classes)
        super().__init__(backbone, head, pretrained=pretrained)
        self.num_classes = num_classes
