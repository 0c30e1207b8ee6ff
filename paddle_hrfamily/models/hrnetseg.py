"""HRNetV2 and U-HRNet for segmentation: the representation head on a backbone."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.heads import HRNetV2Head
from paddle_hrfamily.models.segmentor import Segmentor
from paddle_hrfamily.registry import Family
from paddle_hrfamily.weights.published import named
from paddle_hrfamily.weights.publishers import hrnet, mmsegmentation, paddleseg

# HRNet: tables 3 and 4, and the official repository's table for the small ones. U-HRNet: section 4.
PUBLISHED = {
    "hrnet_w18_small_v1": (1.5, 31.1),
    "hrnet_w18_small_v2": (3.9, 71.6),
    "hrnet_w40": (45.2, 493.2),
    "hrnet_w48": (65.9, 696.2),
    "uhrnet_w48": (None, 698.6),
}


WEIGHTS = named(
    ("", hrnet.HRNET), ("", paddleseg.UHRNET), ("mmseg", mmsegmentation.HRNET), ("paddleseg", paddleseg.HRNET)
)


@registry.model(Family("", ("HRNet", "UHRNet"), published=PUBLISHED), weights=WEIGHTS)
class HRNetSeg(Segmentor):
    """The HRNetV2 representation head on any backbone (HRNet section 5; U-HRNet section 4).

    Args:
        backbone, num_classes, align_corners, pretrained, batch_norm_momentum: as in Segmentor.
        widen: as in HRNetV2Head.
        auxiliary: a second output in training, for deep supervision on the 1/4 stream.

    Raises:
        UserError: a backbone without feat_channels, or weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = 19,
        *,
        align_corners: bool = False,
        widen: int = 1,
        auxiliary: bool = False,
        pretrained: str | None = None,
        batch_norm_momentum: float | None = None,
    ) -> None:
        known = traits_for(type(self), backbone)
        head = HRNetV2Head(
            known.feat_channels,
            num_classes,
            channel_pool=known.pools_channels,
            align_corners=align_corners,
            widen=widen,
            auxiliary=auxiliary,
        )
        super().__init__(
            backbone,
            head,
            num_classes=num_classes,
            align_corners=align_corners,
            pretrained=pretrained,
            batch_norm_momentum=batch_norm_momentum,
        )
