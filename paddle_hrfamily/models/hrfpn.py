"""HRNetV2p: a feature pyramid for object detectors (HRNet sections 3.3 and 6, figure 4c)."""

from __future__ import annotations

from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.heads import PyramidHead
from paddle_hrfamily.models.segmentor import HeadOnBackbone
from paddle_hrfamily.registry import Entry, Family

# The official detection networks resize by nearest neighbour, as all the official ones but those of segmentation do.
_DETECTOR = Entry(num_classes=None, size=(800, 1200), backbone_options={"upsampling": "nearest", "finest_alone": False})


@registry.model(Family("_fpn", ("HRNet",), _DETECTOR), in_configs=False)
class HRFPN(HeadOnBackbone):
    """image (N, in_channels, H, W) -> [(N, channels, ceil(H/s), ceil(W/s))] for s of `feat_strides`: 4, 8, 16, 32, 64.

    Backbone and neck of a detector, with their weights. There is no way to train it here: PaddleSeg's trainer is for
    segmentation, so a config cannot name it. Any H, W from 32 up. The official detection networks resize by nearest
    neighbour inside of the backbone: build it with upsampling="nearest".

    Args:
        backbone, pretrained: as in HeadOnBackbone.
        channels: channels of every level.
        levels: number of levels.
        align_corners: corner handling of the resizes before the levels part.

    Raises:
        UserError: a backbone without feat_channels, or weights that do not fit.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        *,
        channels: int = 256,
        levels: int = 5,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        known = traits_for(type(self), backbone)
        head = PyramidHead(
            known.feat_channels,
            channels=channels,
            levels=levels,
            channel_pool=known.pools_channels,
            align_corners=align_corners,
        )
        super().__init__(backbone, head, pretrained=pretrained)
        self.feat_channels = [channels] * levels
        self.feat_strides = [4 << level for level in range(levels)]
