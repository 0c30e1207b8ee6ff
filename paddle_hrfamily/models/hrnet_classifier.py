"""HRNet-W*-C: image classification, on which the family's backbones are pretrained (HRNet appendix C)."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.backbones import hrnet
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.heads import ClassificationHead
from paddle_hrfamily.models.segmentor import HeadOnBackbone
from paddle_hrfamily.registry import Entry, Family

# HRNet: table 20, and the official repository's table for the small ones.
PUBLISHED = {
    "hrnet_w18_small_v1_cls": (13.2, 1.49),
    "hrnet_w18_small_v2_cls": (15.6, 2.42),
    "hrnet_w18_cls": (21.3, 3.99),
    "hrnet_w30_cls": (37.7, 7.55),
    "hrnet_w40_cls": (57.6, 11.8),
    "hrnet_w44_c_cls": (21.9, 3.90),
    "hrnet_w76_c_cls": (40.8, 7.30),
    "hrnet_w96_c_cls": (57.5, 10.2),
}
_IMAGENET = Entry(num_classes=1000, size=(224, 224), backbone_options={"upsampling": "nearest", "finest_alone": False})


@registry.model(
    Family("_cls", ("HRNet",), _IMAGENET, variants=tuple(hrnet.VARIANTS), published=PUBLISHED), in_configs=False
)
class HRNetClassifier(HeadOnBackbone):
    """image (N, in_channels, H, W) -> logits (N, num_classes), any H, W from 32 up; trained at 224×224.

    A network and its weights. There is no way to train it here: PaddleSeg's trainer compares maps of labels, so a
    config cannot name it. The official networks resize by nearest neighbour: build the backbone with
    upsampling="nearest".

    Args:
        backbone: an HRNet, or any layer that returns four streams of strides 4, 8, 16, 32.
        num_classes: classes to tell apart.
        pretrained: as in HeadOnBackbone.

    Raises:
        UserError: a backbone without feat_channels, or weights that do not fit.
    """

    def __init__(self, backbone: nn.Layer, num_classes: int = 1000, *, pretrained: str | None = None) -> None:
        head = ClassificationHead(traits_for(type(self), backbone).feat_channels, num_classes)
        super().__init__(backbone, head, pretrained=pretrained)
