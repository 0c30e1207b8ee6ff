"""ResNet: Deep Residual Learning for Image Recognition (arXiv 1512.03385), in the form that today's weights are for.

Table 1: a stem to stride 4, then four stages of blocks, each but the first at half the resolution of the one before.
A bottleneck strides in its 3×3 ("v1.5"). The `_vd` variants are PaddleSeg's (arXiv 1812.01187, figure 2, "ResNet-D").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.backbones.variants import load_pretrained, pick_variant
from paddle_hrfamily.blocks import BasicBlock, Bottleneck, Residual, block_chain
from paddle_hrfamily.contract import Backbone
from paddle_hrfamily.layers import ConvBN
from paddle_hrfamily.weights.publishers.resnet import IMAGENET

STEM_CHANNELS = 64
WIDTHS = (64, 128, 256, 512)  # of the blocks of stages 1 to 4
STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Layout:
    """What tells one variant from another: the kind of block, how many of it in each stage, and the form.

    `vd`: three 3×3 convolutions for the stem, a projection in the shortcut of every stage's first block, and strided
    shortcuts that average before they project.
    """

    block: type[Residual]
    depths: tuple[int, int, int, int]
    vd: bool = False


_PLAIN = {
    "R18": Layout(BasicBlock, (2, 2, 2, 2)),
    "R34": Layout(BasicBlock, (3, 4, 6, 3)),
    "R50": Layout(Bottleneck, (3, 4, 6, 3)),
    "R101": Layout(Bottleneck, (3, 4, 23, 3)),
    "R152": Layout(Bottleneck, (3, 8, 36, 3)),
}
VARIANTS = _PLAIN | {f"{name}_vd": replace(layout, vd=True) for name, layout in _PLAIN.items()}


@registry.backbone(variants=tuple(VARIANTS), weights=IMAGENET)
class ResNet(Backbone):
    """ResNet backbone: (N, in_channels, H, W) -> features at strides 4, 8, 16, 32; any H, W from 32 up.

    They have 64, 128, 256, 512 channels in R18 and R34, four times as many in the others.

    Args:
        variant: a key of VARIANTS.
        in_channels: channels of the image.
        stem: if False, the network begins behind its stem, and takes a map (N, 64, H/4, W/4) instead of an image.
        pretrained: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet". The weights are those of a
            network with a stem in any case.

    Raises:
        UserError: unknown variant, or weights that do not fit.
    """

    def __init__(
        self,
        variant: str = "R50",
        *,
        in_channels: int = 3,
        stem: bool = True,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        layout = pick_variant("ResNet", variant, VARIANTS)
        self.variant = variant
        self.in_channels = in_channels
        self.feat_strides = list(STRIDES)
        self.feat_channels = [width * layout.block.expansion for width in WIDTHS]
        self.stem: nn.Layer | None = DeepStem(in_channels) if layout.vd else Stem(in_channels)
        self.stages = nn.LayerList()
        channels = STEM_CHANNELS
        for width, depth, out_channels in zip(WIDTHS, layout.depths, self.feat_channels):
            stride = 2 if self.stages else 1
            self.stages.append(block_chain(layout.block, channels, width, depth, stride))
            if layout.vd:
                self.stages[-1][0].downsample = PooledProjection(channels, out_channels, stride)
            channels = out_channels
        load_pretrained(self, "ResNet", variant, pretrained)
        if not stem:
            self.stem = None
            self.in_channels = STEM_CHANNELS

    def forward(self, image: paddle.Tensor, additions: Sequence[paddle.Tensor] = ()) -> list[paddle.Tensor]:
        """Features, finest first. `additions`, if any, are maps shaped like them, each added to what its stage gives:
        so it is in the feature, and in what the next stage sees."""
        x = image if self.stem is None else self.stem(image)
        feats = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if additions:
                x = x + additions[i]
            feats.append(x)
        return feats


class Stem(nn.Layer):
    """Strided 7×7 convolution and 3×3 max pooling: (N, in, H, W) -> (N, 64, H/4, W/4)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, STEM_CHANNELS, 7, stride=2)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return _max_pool(self.conv1(image))


class DeepStem(nn.Layer):
    """Three 3×3 convolutions, the first strided, in place of the 7×7: (N, in, H, W) -> (N, 64, H/4, W/4)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, STEM_CHANNELS // 2, 3, stride=2)
        self.conv2 = ConvBN(STEM_CHANNELS // 2, STEM_CHANNELS // 2, 3)
        self.conv3 = ConvBN(STEM_CHANNELS // 2, STEM_CHANNELS, 3)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return _max_pool(self.conv3(self.conv2(self.conv1(image))))


class PooledProjection(ConvBN):
    """The shortcut of a `_vd` block: a strided one averages 2×2, so that no value is left out, before the 1×1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 1, relu=False)
        self.stride = stride

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().forward(x if self.stride == 1 else F.avg_pool2d(x, self.stride, ceil_mode=True))


def _max_pool(x: paddle.Tensor) -> paddle.Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)
