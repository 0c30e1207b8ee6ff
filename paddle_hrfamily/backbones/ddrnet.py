"""DDRNet: Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation (arXiv 2101.06085).

Figure 4: from 1/8 on two streams, one of which stays there while the other goes on to 1/64 for its context; after every
run of blocks each receives the other, before the activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily import registry
from paddle_hrfamily.backbones.context import Context, context_module
from paddle_hrfamily.backbones.variants import load_pretrained, pick_padding, pick_variant
from paddle_hrfamily.blocks import BasicBlock, Bottleneck, block_chain
from paddle_hrfamily.contract import Backbone
from paddle_hrfamily.layers import ConvBN, Padding, resize_as
from paddle_hrfamily.multires import Style
from paddle_hrfamily.weights.publishers import mmsegmentation, paddleseg


@dataclass(frozen=True)
class Layout:
    """What tells one variant from another, by the stages of tables I and II."""

    width: int  # C: channels of conv1 and conv2; a stream of stride s has C·s/4
    conv2: int = 2  # blocks of each stage
    conv3: int = 2
    conv4: tuple[int, ...] = (2,)  # one number for every bilateral fusion
    conv5: int = 2
    head_width: int = 128  # section III-D
    tail_width: int = 2048  # of the classification network, conv5_2
    context_width: int = 128  # of every scale of the context; not in the paper, the official code's

    def channels(self, stride: int) -> int:
        return self.width * stride // 4


# Tables I and II. Of DDRNet-39 1.5× (table VII: 70.2 M, 303.0 GFLOPs at 1024×1024) nothing else is known. Here it is
# DDRNet-39 with streams 1.5 times as wide and the same head and context: 70.971 M and 308.347, 1.1% and 1.8% above. No
# widths that the text suggests give both of its figures.
VARIANTS = {
    "23_slim": Layout(32, head_width=64, tail_width=1024),
    "23": Layout(64),
    "39": Layout(64, conv2=3, conv3=4, conv4=(3, 3), conv5=3, head_width=256),
    "39_1_5x": Layout(96, conv2=3, conv3=4, conv4=(3, 3), conv5=3, head_width=256),
}


class LastBottleneck(Bottleneck):
    """The bottleneck that ends a stream: (N, in, H, W) -> (N, 2·width, H/stride, W/stride)."""

    expansion = 2


class Stem(nn.Layer):
    """What the streams share, conv1 to conv3: (N, in_channels, H, W) -> (N, 2C, H/8, W/8)."""

    def __init__(self, in_channels: int, layout: Layout) -> None:
        super().__init__()
        width = layout.width
        # Their biases, in front of a batch norm, are in the official weights.
        self.conv1 = ConvBN(in_channels, width, 3, stride=2, bias=True)
        self.conv2 = ConvBN(width, width, 3, stride=2, bias=True)
        self.blocks2 = block_chain(BasicBlock, width, width, layout.conv2)
        self.blocks3 = block_chain(BasicBlock, width, layout.channels(8), layout.conv3, stride=2)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.blocks3(self.blocks2(self.conv2(self.conv1(image))))


class DualStage(nn.Layer):
    """Blocks on both streams, then bilateral fusion (figure 3, equation 1), up to its activation.

    The fine stream, (N, high, H, W), keeps its shape. The coarse one becomes (N, low, H·high/low, W·high/low).
    """

    def __init__(self, high: int, low_in: int, low: int, blocks: int, style: Style) -> None:
        super().__init__()
        self.align_corners = style.align_corners
        self.high = block_chain(BasicBlock, high, high, blocks, last_relu=False)
        self.low = block_chain(BasicBlock, low_in, low, blocks, stride=low // low_in, last_relu=False)
        self.high_to_low = _halvings(high, low, style.padding)
        self.low_to_high = ConvBN(low, high, 1, relu=False)

    def forward(self, high: paddle.Tensor, low: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        high, low = self.high(F.relu(high)), self.low(F.relu(low))
        to_high = resize_as(self.low_to_high(F.relu(low)), high, self.align_corners)
        return high + to_high, low + self.high_to_low(F.relu(high))


def _halvings(in_channels: int, out_channels: int, padding: Padding) -> nn.Sequential:
    """Strided convolutions from one stream's channels to another's, doubling them at each."""
    steps = range((out_channels // in_channels).bit_length() - 1)
    last = len(steps) - 1
    if last > 0:
        padding = "symmetric"  # PaddleSeg's network pads "same" in its single steps alone
    return nn.Sequential(
        *(ConvBN(in_channels << i, in_channels << i + 1, 3, stride=2, padding=padding, relu=i < last) for i in steps)
    )


# The authors' weights, and PaddleSeg's of its own network, which need its padding.
WEIGHTS = {
    "23_slim": {"imagenet": mmsegmentation.DDRNET_IMAGENET["23_slim"]},
    "23": {
        "imagenet": mmsegmentation.DDRNET_IMAGENET["23"],
        "imagenet_paddleseg": paddleseg.DDRNET_IMAGENET["23"],
    },
}


@registry.backbone(zoo="ddrnet", variants=tuple(VARIANTS), weights=WEIGHTS)
class DDRNetTrunk(Backbone):
    """DDRNet as it is trained on ImageNet (tables I and II): both streams, and no context.

    (N, in_channels, H, W) -> [(N, 4C, H/8, W/8), (N, 16C, H/32, W/32)], finest first, any H, W from 32 up.

    Args:
        variant: a key of VARIANTS; a bare 23 is a number to YAML.
        in_channels, padding, align_corners, pretrained: as in DDRNet.

    Raises:
        UserError: unknown variant or padding, or weights that do not fit.
    """

    low_end_stride = 1  # of the bottleneck that ends the coarse stream
    end_relu = True  # whether the bottlenecks that end the streams have a last ReLU

    def __init__(
        self,
        variant: str | int = "23_slim",
        *,
        in_channels: int = 3,
        padding: Padding | None = None,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        self.variant = str(variant)
        layout = self.layout = pick_variant("DDRNet", self.variant, VARIANTS)
        self.padding = pick_padding("DDRNet", self.variant, padding, pretrained, default="symmetric")
        self.in_channels = in_channels
        self.align_corners = align_corners
        self.head_width = layout.head_width
        high, mid, low = (layout.channels(stride) for stride in (8, 16, 32))
        style = Style(self.padding, align_corners=align_corners)
        self.stem = Stem(in_channels, layout)
        self.conv4 = nn.LayerList(
            DualStage(high, mid if i else high, mid, blocks, style) for i, blocks in enumerate(layout.conv4)
        )
        self.conv5 = DualStage(high, mid, low, layout.conv5, style)
        self.high_end = LastBottleneck(high, high, relu=self.end_relu)
        self.low_end = LastBottleneck(low, low, self.low_end_stride, relu=self.end_relu)
        self.feat_channels = [layout.channels(16), layout.channels(64)]
        self.feat_strides = [8, 32]
        load_pretrained(self, "DDRNet", self.variant, pretrained)

    def streams(self, image: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """The ends, (N, 4C, H/8, W/8) and (N, 16C, H/32, W/32) or half of that, and conv4's fine stream (N, 2C, …)."""
        high = low = self.stem(image)
        for stage in self.conv4:
            high, low = stage(high, low)
        supervised = high
        high, low = self.conv5(high, low)
        return self.high_end(F.relu(high)), self.low_end(F.relu(low)), supervised

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        high, low, _ = self.streams(image)
        return [high, low]


@registry.backbone(zoo="ddrnet", variants=tuple(VARIANTS), weights=WEIGHTS)
class DDRNet(DDRNetTrunk):
    """DDRNet backbone: (N, in_channels, H, W) -> [(N, 4C, H/8, W/8), (N, 2C, H/8, W/8)], any H, W from 32 up.

    The first feature is the result, for the head. The second is conv4's fine stream right after its (last) fusion,
    before the activation: what deep supervision looks at (section III-E). Sizes are rounded up.

    Args:
        variant: a key of VARIANTS.
        context: at the end of the coarse stream, "dappm", or "ppm" or "none" of table X.
        in_channels: channels of the image.
        padding: "symmetric" as the official networks and their weights; "same" for weights trained by PaddleSeg, whose
            network pads the first convolutions from fine to coarse that way and leaves padding out of DAPPM's averages.
            Left open, it is what the published `pretrained` weights need, else "symmetric".
        align_corners: corner handling of every bilinear resize.
        pretrained: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet". The context begins anew where
            the weights are those of a classification network.

    Raises:
        UserError: unknown variant, context or padding, or weights that do not fit.
    """

    low_end_stride = 2  # the context looks at 1/64
    end_relu = False

    def __init__(
        self,
        variant: str | int = "23_slim",
        *,
        context: Context = "dappm",
        in_channels: int = 3,
        padding: Padding | None = None,
        align_corners: bool = False,
        pretrained: str | None = None,
    ) -> None:
        layout = pick_variant("DDRNet", str(variant), VARIANTS)
        padding = pick_padding("DDRNet", str(variant), padding, pretrained, default="symmetric")
        super().__init__(variant, in_channels=in_channels, padding=padding, align_corners=align_corners)
        self.feat_channels = [layout.channels(16), layout.channels(8)]
        self.feat_strides = [8, 8]
        self.context = context_module(
            context,
            layout.channels(64),
            layout.context_width,
            layout.channels(16),
            exclusive=padding == "same",
            align_corners=align_corners,
        )
        load_pretrained(self, "DDRNet", self.variant, pretrained)

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        high, low, supervised = self.streams(image)
        return [high + resize_as(self.context(low), high, self.align_corners), supervised]
