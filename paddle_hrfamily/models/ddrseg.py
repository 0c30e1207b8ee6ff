"""DDRNet for segmentation."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.heads import DDRHead
from paddle_hrfamily.models.segmentor import Segmentor


class DDRSeg(Segmentor):
    """DDRNet's head on its backbone (figure 4), or on any other.

    Two outputs in training, [main, auxiliary]: the paper weighs their losses 1 and 0.4.

    Args:
        backbone: any layer with `feat_channels` that returns a list of features.
        num_classes: classes to tell apart.
        head_width: channels between the head's convolutions; left open, the variant's own (section III-D), or 128 on
            a backbone that is no DDRNet.
        auxiliary: deep supervision of the second feature (section III-E); in evaluation there is one output anyway.
        align_corners: corner handling of the last resize; give the backbone the same.
        pretrained: as in Segmentor.

    Raises:
        UserError: a backbone without a second feature to supervise, or weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = 19,
        *,
        head_width: int | None = None,
        auxiliary: bool = True,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        channels = backbone.feat_channels
        if auxiliary and len(channels) < 2:
            raise UserError(
                f"{type(backbone).__name__} has one feature and DDRSeg's auxiliary output needs a second: "
                "write `auxiliary: False` in the model's config, and one loss"
            )
        layout = getattr(backbone, "layout", None)
        width = head_width or getattr(layout, "head_width", 128)
        head = DDRHead(channels, num_classes, width=width, auxiliary=auxiliary)
        super().__init__(backbone, head, num_classes=num_classes, align_corners=align_corners, pretrained=pretrained)
