"""HRNet-W*-C: image classification, on which the family's backbones are pretrained (HRNet appendix C)."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily.backbones.variants import load_pretrained
from paddle_hrfamily.heads import ClassificationHead


class HRNetClassifier(nn.Layer):
    """image (N, in_channels, H, W) -> logits (N, num_classes), any H, W from 32 up; trained at 224×224.

    A network and its weights, no training pipeline: it is not among PaddleSeg's models, whose trainer compares maps
    of labels. The official networks resize by nearest neighbour: build the backbone with upsampling="nearest".

    Args:
        backbone: an HRNet, or any layer that returns four streams of strides 4, 8, 16, 32.
        num_classes: classes to tell apart.
        pretrained: weights for the whole network: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet".
            The head is filled where they hold one of this many classes.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(self, backbone: nn.Layer, num_classes: int = 1000, *, pretrained: str | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ClassificationHead(backbone.feat_channels, num_classes)
        load_pretrained(self, type(backbone).__name__, getattr(backbone, "variant", ""), pretrained, part="auto")

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.backbone(image))
