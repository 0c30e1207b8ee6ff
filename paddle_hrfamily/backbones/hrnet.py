"""HRNet: Deep High-Resolution Representation Learning for Visual Recognition (arXiv 1908.07919).

Figure 2: four stages keep 1, 2, 3, 4 streams in parallel; each stage adds one at half the resolution of the coarsest.
"""

from __future__ import annotations

from paddle_hrfamily import registry
from paddle_hrfamily.backbones.variants import load_pretrained, pick_padding, pick_variant
from paddle_hrfamily.blocks import Bottleneck
from paddle_hrfamily.errors import unknown
from paddle_hrfamily.layers import UPSAMPLINGS, Padding, Upsampling
from paddle_hrfamily.multires import EXCHANGES, Exchanges, Layout, MultiResNet, Stage, Style
from paddle_hrfamily.weights.publishers.hrnet import IMAGENET
from paddle_hrfamily.weights.publishers.paddleseg import HRNET_SSLD


def _parallel(m3: int, m4: int) -> tuple[Stage, ...]:
    """Stages 2 to 4, by the modules of stages 3 and 4."""
    return Stage(1, (4, 8)), Stage(m3, (4, 8, 16)), Stage(m4, (4, 8, 16, 32))


# Section 3.5: four bottlenecks, then 1, 4, 3 modules of four basic blocks a branch; Wx has x channels at 1/4.
# The two small ones are the official repository's: fewer modules and two blocks a branch (v1's width is 16).
DENSE = {
    "W18_Small_V1": Layout(16, _parallel(1, 1), blocks=2, stem_blocks=1, stem_width=32),
    "W18_Small_V2": Layout(18, _parallel(3, 2), blocks=2, stem_blocks=2),
    **{f"W{width}": Layout(width, _parallel(4, 3)) for width in (18, 30, 32, 40, 44, 48, 60, 64)},
}

# The classification networks that the paper holds against ResNets of their size (appendix): bottlenecks, 4·C wide.
CLASSIFICATION_ONLY = {f"W{4 * width}_C": Layout(width, _parallel(4, 3), block=Bottleneck) for width in (11, 19, 24)}
VARIANTS = DENSE | CLASSIFICATION_ONLY


# PaddleSeg's form of the distilled weights needs its padding.
WEIGHTS = {
    variant: {**names, **({"ssld_paddleseg": HRNET_SSLD[variant]} if variant in HRNET_SSLD else {})}
    for variant, names in IMAGENET.items()
}


@registry.backbone(zoo="hrnet", variants=tuple(DENSE), weights=WEIGHTS)
class HRNet(MultiResNet):
    """HRNet backbone: (N, in_channels, H, W) -> streams at strides 4, 8, 16, 32 with C, 2C, 4C, 8C channels.

    Args:
        variant: a key of VARIANTS.
        in_channels: channels of the image.
        padding: "symmetric" as the official networks and their weights, "same" for weights trained by PaddleSeg.
            Left open, it is what the published `pretrained` weights need, else "symmetric".
        align_corners: corner handling of every bilinear resize.
        upsampling: "bilinear", or "nearest" as in the official classification, pose and detection networks.
        concat: return the one concatenated map (N, 15C, H/4, W/4) that PaddleSeg's heads expect.
        finest_alone: HRNetV1, the stream at 1/4 and nothing else (figure 4a).
        exchanges: which modules end with an exchange between the streams: "all", "across" stages alone, or the "final"
            one (table 12).
        pretrained: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet".

    Raises:
        UserError: unknown variant, padding or upsampling, or weights that do not fit.
    """

    def __init__(
        self,
        variant: str = "W18",
        *,
        in_channels: int = 3,
        padding: Padding | None = None,
        align_corners: bool = False,
        upsampling: Upsampling = "bilinear",
        concat: bool = False,
        finest_alone: bool = False,
        exchanges: Exchanges = "all",
        pretrained: str | None = None,
    ) -> None:
        layout = pick_variant("HRNet", variant, VARIANTS)
        if upsampling not in UPSAMPLINGS:
            raise unknown("upsampling of HRNet", upsampling, UPSAMPLINGS)
        if exchanges not in EXCHANGES:
            raise unknown("exchanges of HRNet", exchanges, EXCHANGES)
        padding = pick_padding("HRNet", variant, padding, pretrained, default="symmetric")
        super().__init__(
            layout,
            Style(padding, upsampling, align_corners),
            in_channels=in_channels,
            concat=concat,
            finest_alone=finest_alone,
            exchanges=exchanges,
        )
        self.variant = variant
        load_pretrained(self, "HRNet", variant, pretrained)
