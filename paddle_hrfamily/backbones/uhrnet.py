"""U-HRNet: Delving into Improving Semantic Representation of HRNet for Dense Prediction (arXiv 2210.07140).

Figure 2c: HRNet's modules, never more than two streams at a time, laid along a U down to 1/64 and back to 1/4.
"""

from __future__ import annotations

from paddle_hrfamily import registry
from paddle_hrfamily.backbones.variants import load_pretrained, pick_padding, pick_variant
from paddle_hrfamily.errors import unknown
from paddle_hrfamily.layers import Padding
from paddle_hrfamily.multires import Layout, MultiResNet, SkipFusion, Stage, Style
from paddle_hrfamily.weights.publishers.paddleseg import UHRNET_IMAGENET


def _u(m3: int, m4: int, m5: int) -> tuple[Stage, ...]:
    """Stages 2 to 9 along the U. Stage 6, 7 and 8's finer stream meets the skip of stage 4, 3 and 2 (section 3.2.1)."""
    down = Stage(1, (4, 8)), Stage(m3, (8, 16)), Stage(m4, (16, 32)), Stage(m5, (32, 64))
    up = Stage(1, (16, 32)), Stage(1, (8, 16)), Stage(1, (4, 8)), Stage(1, (4,))
    return down + up


# Section 3.3: 1, 5, 2, 2, 1, 1, 1, 1 modules of four blocks; small: two modules in stage 3, two blocks everywhere.
VARIANTS = {
    "W18_Small": Layout(18, _u(2, 2, 2), blocks=2, stem_blocks=2),
    "W18": Layout(18, _u(5, 2, 2)),
    "W48": Layout(48, _u(5, 2, 2)),
}


@registry.backbone(zoo="uhrnet", variants=tuple(VARIANTS), weights=UHRNET_IMAGENET)
class UHRNet(MultiResNet):
    """U-HRNet backbone: (N, in_channels, H, W) -> streams at strides 4, 8, 16, 32, 64 with C, 2C, 4C, 8C, 16C channels.

    Heads average channel pairs of them first (section 3.2.3); `channel_pool` tells them to. With `concat` it is done.

    Args:
        variant: a key of VARIANTS.
        fusion: how a rejoining stream meets its skip (section 3.2.2, figure 3): "B", the paper's choice, or "A".
        in_channels, padding, align_corners, concat, pretrained: as in HRNet; the official code pads "same".

    Raises:
        UserError: unknown variant, fusion or padding, or weights that do not fit.
    """

    def __init__(
        self,
        variant: str = "W18_Small",
        *,
        fusion: SkipFusion = "B",
        in_channels: int = 3,
        padding: Padding | None = None,
        align_corners: bool = False,
        concat: bool = False,
        pretrained: str | None = None,
    ) -> None:
        layout = pick_variant("UHRNet", variant, VARIANTS)
        if fusion not in ("A", "B"):
            raise unknown("fusion of UHRNet", fusion, ("A", "B"))
        padding = pick_padding("UHRNet", variant, padding, pretrained, default="same")
        super().__init__(
            layout,
            Style(padding, align_corners=align_corners),
            in_channels=in_channels,
            concat=concat,
            fusion=fusion,
            channel_pool=True,
        )
        self.variant = variant
        load_pretrained(self, "UHRNet", variant, pretrained)
