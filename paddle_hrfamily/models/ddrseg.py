"""DDRNet for segmentation."""

from __future__ import annotations

from dataclasses import replace

from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.heads import DDRHead
from paddle_hrfamily.models.segmentor import Segmentor
from paddle_hrfamily.registry import Entry, Family
from paddle_hrfamily.weights.published import named
from paddle_hrfamily.weights.publishers import mmsegmentation, paddleseg

_WIDTH = 128  # of the head on a backbone that is no DDRNet
PUBLISHED = {"ddrnet_23_slim": (5.7, 36.3), "ddrnet_23": (20.1, 143.1), "ddrnet_39": (32.3, 281.2)}  # table V
# The auxiliary output is asked for where it is wanted, as in the other families.
_PLAIN = Entry(rule="billion_with_biases", model_options={"auxiliary": False})
_WIDE = replace(_PLAIN, backbone="DDRNet", variant="39_1_5x", size=(1024, 1024), published=(70.2, 303.0))  # table VII


WEIGHTS = named(("mmseg", mmsegmentation.DDRNET), ("paddleseg", paddleseg.DDRNET))


@registry.model(
    Family("", ("DDRNet",), _PLAIN, published=PUBLISHED), entries={"ddrnet_39_1_5x": _WIDE}, weights=WEIGHTS
)
class DDRSeg(Segmentor):
    """DDRNet's head on its backbone (figure 4), or on any other.

    Two outputs in training, [main, auxiliary]: the paper weighs their losses 1 and 0.4.

    Args:
        backbone, num_classes, pretrained: as in Segmentor.
        head_width: channels between the head's convolutions; left open, the variant's own (section III-D), or 128 on
            a backbone that is no DDRNet.
        auxiliary: deep supervision of the second feature (section III-E); in evaluation there is one output anyway.
        align_corners: corner handling of the last resize; give the backbone the same.

    Raises:
        UserError: a backbone without feat_channels, or without a second feature to supervise; weights that do not fit.
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
        known = traits_for(type(self), backbone)
        if auxiliary and len(known.feat_channels) < 2:
            raise UserError(
                f"{known.name} has one feature and DDRSeg's auxiliary output needs a second: "
                "write `auxiliary: False` in the model's config, and one loss"
            )
        width = head_width or known.head_width or _WIDTH
        head = DDRHead(known.feat_channels, num_classes, width=width, auxiliary=auxiliary)
        super().__init__(backbone, head, num_classes=num_classes, align_corners=align_corners, pretrained=pretrained)
