"""A segmentation network: backbone and head, logits at the size of the image."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily.backbones.variants import load_pretrained
from paddle_hrfamily.layers import resize_as


class Segmentor(nn.Layer):
    """image (N, in_channels, H, W) -> [main, *auxiliary] logits, each (N, num_classes, H, W).

    Training returns all of them, in the order of PaddleSeg's losses; evaluation the main one alone, in a list.

    Args:
        backbone: any layer that returns a list of features, finest first.
        head: features -> [main, *auxiliary] logits at any size.
        num_classes: classes to tell apart.
        align_corners: corner handling of the last resize.
        pretrained: weights for the whole network: a file, a URL, `hf-hub:REPO` or a published name. The head is
            filled where they hold one of this many classes.

    Raises:
        UserError: weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        head: nn.Layer,
        *,
        num_classes: int,
        align_corners: bool,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.num_classes = num_classes
        self.align_corners = align_corners
        load_pretrained(self, type(backbone).__name__, getattr(backbone, "variant", ""), pretrained, part="auto")

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [resize_as(logits, image, self.align_corners) for logits in self.native_logits(image)]

    def native_logits(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """What `forward` returns, before it is resized: (N, num_classes, h, w)."""
        return self.head(self.backbone(image))


def pools_channels(backbone: nn.Layer) -> bool:
    """Whether heads are to average the channel pairs of this backbone's streams (U-HRNet section 3.2.3)."""
    return getattr(backbone, "channel_pool", False) and len(backbone.feat_channels) > 1
