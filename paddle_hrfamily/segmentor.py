"""A segmentation network: backbone and head, logits at the size of the image."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily.heads import HRNetV2Head
from paddle_hrfamily.layers import resize_as
from paddle_hrfamily.weights import load_weights, resolve


class Segmentor(nn.Layer):
    """image (N, in_channels, H, W) -> [main, *auxiliary] logits, each (N, num_classes, H, W).

    Training returns all of them, in the order of PaddleSeg's losses; evaluation the main one alone, in a list.
    """

    def __init__(self, backbone: nn.Layer, head: nn.Layer, *, num_classes: int, align_corners: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.num_classes = num_classes
        self.align_corners = align_corners

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [resize_as(logits, image, self.align_corners) for logits in self.head(self.backbone(image))]


class HRNetSeg(Segmentor):
    """The HRNetV2 representation head on any backbone (HRNet section 5; U-HRNet section 4).

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, finest first.
        num_classes: classes to tell apart.
        align_corners: corner handling of the resizes in head and output; give the backbone the same.
        auxiliary: a second output in training, for deep supervision on the 1/4 stream.
        pretrained: weights for the whole network: a file, a URL, `hf-hub:REPO` or a published name. The head is
            filled where they hold one of this many classes.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = 19,
        *,
        align_corners: bool = False,
        auxiliary: bool = False,
        pretrained: str | None = None,
    ) -> None:
        head = HRNetV2Head(
            backbone.feat_channels,
            num_classes,
            channel_pool=getattr(backbone, "channel_pool", False) and len(backbone.feat_channels) > 1,
            align_corners=align_corners,
            auxiliary=auxiliary,
        )
        super().__init__(backbone, head, num_classes=num_classes, align_corners=align_corners)
        if pretrained:
            source = resolve(type(backbone).__name__, getattr(backbone, "variant", ""), pretrained).source
            print(load_weights(self, source, part="auto"))
