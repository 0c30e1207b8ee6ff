"""HRNet and U-HRNet for depth: the segmentation network with one plane of metres (U-HRNet section 5)."""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.contract import traits_for
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.heads import HRNetV2Head
from paddle_hrfamily.models.segmentor import Losses, Segmentor
from paddle_hrfamily.registry import Entry, Family


@registry.model(Family("_depth", ("HRNet", "UHRNet"), Entry(num_classes=1, size=(480, 640))))
class HRDepth(Segmentor):
    """image (N, in_channels, H, W) -> [depth (N, 1, H, W)], metres.

    "The same network structure as used in semantic segmentation, with only the number of output channel of the last
    convolution adapting" (section 5.2): no activation follows it, so an untrained network may return values below
    0. Evaluation and drawing cut them to the possible range.

    Args:
        backbone, align_corners, pretrained: as in Segmentor.
        num_classes: planes of the output, which can only be 1; PaddleSeg hands over the data set's.

    Raises:
        UserError: more than one plane, a backbone without feat_channels, or weights that do not fit.
    """

    task = "depth"  # for evaluation, prediction and export: the output is a quantity, not logits

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int = 1,
        *,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        if num_classes != 1:
            raise UserError(f"HRDepth: num_classes is {num_classes}; depth is one plane, leave it out or set it to 1")
        known = traits_for(type(self), backbone)
        head = HRNetV2Head(known.feat_channels, 1, channel_pool=known.pools_channels, align_corners=align_corners)
        super().__init__(backbone, head, num_classes=1, align_corners=align_corners, pretrained=pretrained)

    def loss_computation(
        self, logits_list: list[paddle.Tensor], losses: Losses, data: dict[str, paddle.Tensor]
    ) -> list[paddle.Tensor]:
        """The config's loss on depth as it is: PaddleSeg's own way would cut the labels to whole metres.

        Raises:
            UserError: there is not exactly one loss.
        """
        if len(losses["types"]) != 1:
            raise UserError(f"loss has {len(losses['types'])} types, and HRDepth has one output: give it one loss")
        return [losses["coef"][0] * losses["types"][0](logits_list[0], data["label"])]
