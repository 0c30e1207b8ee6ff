"""HRNetV2 and U-HRNet for segmentation: the representation head on a backbone."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily.heads import HRNetV2Head
from paddle_hrfamily.models.segmentor import Segmentor, pools_channels


class HRNetSeg(Segmentor):
    """The HRNetV2 representation head on any backbone (HRNet section 5; U-HRNet section 4).

    Args:
        backbone: any layer with `feat_channels` that returns a list of features, finest first.
        num_classes: classes to tell apart.
        align_corners: corner handling of the resizes in head and output; give the backbone the same.
        auxiliary: a second output in training, for deep supervision on the 1/4 stream.
        pretrained: as in Segmentor.

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
            channel_pool=pools_channels(backbone),
            align_corners=align_corners,
            auxiliary=auxiliary,
        )
        super().__init__(backbone, head, num_classes=num_classes, align_corners=align_corners, pretrained=pretrained)
