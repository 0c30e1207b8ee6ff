"""DDRNet for classification: the network whose ImageNet weights the segmentation networks begin with."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.layers import ConvBN
from paddle_hrfamily.weights import load_weights


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


class DDRNetClassifier(nn.Layer):
    """image (N, in_channels, H, W), any H, W from 32 up -> logits (N, num_classes).

    A network and its weights, not a way of training it: PaddleSeg's trainer is for segmentation.

    Args:
        backbone: a DDRNetTrunk.
        num_classes: classes to tell apart, ImageNet's 1000 unless told otherwise.
        pretrained: weights for the whole network: a file, a URL or `hf-hub:REPO`. The head is filled where they hold
            one of this many classes.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(self, backbone: nn.Layer, num_classes: int = 1000, *, pretrained: str | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = DDRTail(backbone.feat_channels[0], backbone.layout.tail_width, num_classes)
        self.num_classes = num_classes
        if pretrained:
            print(load_weights(self, pretrained, part="auto"))

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.backbone(image))
