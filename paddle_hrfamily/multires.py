"""Parallel streams of several resolutions, from which both HRNet and U-HRNet are built.

Features are kept by stride: `feats[8]` is the latest tensor of the 1/8 stream, (N, 2·width, H/8, W/8). A network is a
table of stages, each naming its live strides. Between two stages one rule serves both families: a live stream is kept,
a coarser one grows by a strided 3×3, a finer one rejoins by 1×1, resize and the skip that its stride left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.blocks import BasicBlock, Bottleneck, Residual, block_chain
from paddle_hrfamily.contract import Backbone
from paddle_hrfamily.layers import ConvBN, Padding, Upsampling, halve_channels, resize_as

Features = dict[int, paddle.Tensor]
# Which modules end with an exchange between their streams (HRNet, table 12): all of them (8 of HRNet's modules), the
# last of each stage (3), or the very last (1).
Exchanges = Literal["all", "across", "final"]
EXCHANGES: tuple[Exchanges, ...] = ("all", "across", "final")
# How a rejoining stream meets its skip (U-HRNet, figure 3): "A" adds, "B" averages channel pairs and concatenates.
SkipFusion = Literal["A", "B"]


@dataclass(frozen=True)
class Stage:
    """A run of `modules` high-resolution modules over streams of these strides."""

    modules: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """What tells one variant from another: widths, depths and the stages after the stem."""

    width: int  # C: width of the 1/4 stream's blocks; stride s has C·s/4
    stages: tuple[Stage, ...]
    block: type[Residual] = BasicBlock  # of the stages after the stem
    blocks: int = 4  # residual blocks in a branch of a module
    stem_blocks: int = 4  # bottlenecks of stage 1
    stem_width: int = 64  # and their width

    def channels(self, stride: int) -> int:
        return self.block_width(stride) * self.block.expansion

    def block_width(self, stride: int) -> int:
        return self.width * stride // 4


@dataclass(frozen=True)
class Style:
    """How a network pads and resizes: one for all of it."""

    padding: Padding = "symmetric"
    upsampling: Upsampling = "bilinear"
    align_corners: bool = False


def _resize(x: paddle.Tensor, reference: paddle.Tensor, style: Style) -> paddle.Tensor:
    return resize_as(x, reference, style.align_corners, style.upsampling)  # a method would stop Paddle 3's to_static


class Stem(nn.Layer):
    """Two strided 3×3 convolutions and stage 1's bottlenecks: (N, in, H, W) -> (N, 4·stem_width, H/4, W/4)."""

    def __init__(self, in_channels: int, layout: Layout, style: Style) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, 64, 3, stride=2, padding=style.padding)
        self.conv2 = ConvBN(64, 64, 3, stride=2, padding=style.padding)
        self.blocks = block_chain(Bottleneck, 64, layout.stem_width, layout.stem_blocks)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.blocks(self.conv2(self.conv1(image)))


class FusionLayer(nn.Layer):
    """Every stream receives the sum of all, each brought to its resolution (HRNet section 3.3, figure 3).

    Coarse to fine: 1×1, then resize. Fine to coarse: a strided 3×3 per halving, at the source's width until the last.
    `targets` are the streams to compute: all of them, except at the end of HRNetV1.
    """

    def __init__(self, strides: Sequence[int], layout: Layout, style: Style, targets: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.targets = tuple(targets)
        self.style = style
        self.paths = nn.LayerDict()
        for target in self.targets:
            for source in strides:
                if source > target:
                    path = ConvBN(layout.channels(source), layout.channels(target), 1, relu=False)
                elif source < target:
                    path = _downsampling(layout.channels(source), layout.channels(target), target // source, style)
                else:
                    continue
                self.paths[f"{source}_to_{target}"] = path

    def forward(self, feats: Features) -> Features:
        received = {}
        for target in self.targets:  # a comprehension around `self` would stop Paddle 3's to_static
            received[target] = F.relu(self._received(feats, target))
        return received

    def _received(self, feats: Features, target: int) -> paddle.Tensor:
        total = feats[target]
        for source in self.strides:
            if source != target:
                message = self.paths[f"{source}_to_{target}"](feats[source])
                total = total + _resize(message, feats[target], self.style)
        return total


def _downsampling(in_channels: int, out_channels: int, factor: int, style: Style) -> nn.Sequential:
    halvings = factor.bit_length() - 1
    convs = [ConvBN(in_channels, in_channels, 3, stride=2, padding=style.padding) for _ in range(halvings - 1)]
    return nn.Sequential(*convs, ConvBN(in_channels, out_channels, 3, stride=2, padding=style.padding, relu=False))


class HRModule(nn.Layer):
    """Residual blocks on every stream in parallel, then the exchange between them, to the streams `targets`.

    A single stream has no exchange, and no targets mean none.
    """

    def __init__(self, strides: Sequence[int], layout: Layout, style: Style, targets: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.LayerDict()
        for stride in strides:
            self.branches[str(stride)] = block_chain(
                layout.block, layout.channels(stride), layout.block_width(stride), layout.blocks
            )
        self.exchange = FusionLayer(strides, layout, style, targets) if len(strides) > 1 and targets else None

    def forward(self, feats: Features) -> Features:
        feats = {int(stride): branch(feats[int(stride)]) for stride, branch in self.branches.items()}
        return feats if self.exchange is None else self.exchange(feats)


class Transition(nn.Layer):
    """From the streams alive before a stage to those of the stage (see the module's rule)."""

    def __init__(
        self,
        before: dict[int, int],  # stride -> channels of the streams alive before
        strides: Sequence[int],
        layout: Layout,
        style: Style,
        fusion: SkipFusion,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.finest, self.coarsest = min(before), max(before)
        self.style = style
        self.fusion = fusion
        self.paths = nn.LayerDict()
        for stride in strides:
            channels = layout.channels(stride)
            if stride > self.coarsest:
                factor = stride // self.coarsest
                path = ConvBN(before[self.coarsest], channels, 3, stride=factor, padding=style.padding)
            elif stride < self.finest:
                path = ConvBN(before[self.finest], channels, 1)
            elif before[stride] != channels:
                path = ConvBN(before[stride], channels, 3)
            else:
                continue
            self.paths[str(stride)] = path

    def forward(self, feats: Features) -> Features:
        return {stride: self._stream(feats, stride) for stride in self.strides}

    def _stream(self, feats: Features, stride: int) -> paddle.Tensor:
        if str(stride) not in self.paths:
            return feats[stride]
        path = self.paths[str(stride)]
        if stride > self.coarsest:
            return path(feats[self.coarsest])
        if stride < self.finest:
            return self._rejoin(path(feats[self.finest]), feats[stride])
        return path(feats[stride])

    def _rejoin(self, up: paddle.Tensor, skip: paddle.Tensor) -> paddle.Tensor:
        if self.fusion == "A":
            return F.relu(_resize(up, skip, self.style) + skip)
        up = _resize(halve_channels(up), skip, self.style)  # channels first: half as much is resized
        return paddle.concat([up, halve_channels(skip)], axis=1)


class MultiResNet(Backbone):
    """Stem, then transition and modules for every stage of the layout.

    `forward(image (N, in_channels, H, W))` returns the latest feature of each of `feat_strides`, finest first,
    (N, feat_channels[i], ceil(H/feat_strides[i]), ceil(W/feat_strides[i])); any H, W from 32 up. With `concat` it
    returns one map instead, all of them resized to 1/4 and concatenated: the form that PaddleSeg's heads expect. With
    `finest_alone` the last exchange computes the finest stream alone, which is the one feature (HRNetV1, figure 4a).
    """

    def __init__(
        self,
        layout: Layout,
        style: Style,
        *,
        in_channels: int,
        concat: bool,
        fusion: SkipFusion = "A",
        channel_pool: bool = False,
        finest_alone: bool = False,
        exchanges: Exchanges = "all",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.style = style
        self.padding = style.padding
        self.align_corners = style.align_corners
        # Weights of the whole network hold layers that this one is built without; their names begin so.
        last = len(layout.stages) - 1
        self.omits = f"stages.{last}.{layout.stages[last].modules - 1}.exchange." if finest_alone else None
        self.concat = concat
        self.channel_pool = channel_pool
        self.stem = Stem(in_channels, layout, style)
        self.transitions = nn.LayerList()
        self.stages = nn.LayerList()
        alive = {4: layout.stem_width * Bottleneck.expansion}
        for stage in layout.stages:
            is_last = stage is layout.stages[-1]
            ends = (4,) if finest_alone and is_last else stage.strides
            self.transitions.append(Transition(alive, stage.strides, layout, style, fusion))
            targets = [stage.strides if exchanges == "all" else ()] * (stage.modules - 1)
            targets.append(ends if is_last or exchanges != "final" else ())
            self.stages.append(nn.Sequential(*(HRModule(stage.strides, layout, style, fed) for fed in targets)))
            alive = {stride: layout.channels(stride) for stride in stage.strides}
        every = {stride for stage in layout.stages for stride in stage.strides}
        self.streams = [4] if finest_alone else sorted(every)
        channels = [layout.channels(stride) for stride in self.streams]
        self.feat_channels = [representation_channels(channels, channel_pool)] if concat else channels
        self.feat_strides = [4] if concat else self.streams

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        feats = {4: self.stem(image)}
        for transition, modules in zip(self.transitions, self.stages):
            feats.update(modules(transition(feats)))
        streams = [feats[stride] for stride in self.streams]
        return [representation(streams, self.channel_pool, self.style.align_corners)] if self.concat else streams


def representation(feats: Sequence[paddle.Tensor], channel_pool: bool, align_corners: bool) -> paddle.Tensor:
    """All streams at the resolution of the first, concatenated: HRNetV2 (HRNet section 3.4, figure 4b).

    With `channel_pool` each is first averaged over channel pairs (U-HRNet section 3.2.3), for half the channels.
    """
    if channel_pool:
        feats = [halve_channels(x) for x in feats]
    finest, *coarser = feats
    return paddle.concat([finest, *(resize_as(x, finest, align_corners) for x in coarser)], axis=1)


def representation_channels(feat_channels: Sequence[int], channel_pool: bool) -> int:
    """Channels of `representation`."""
    return sum(feat_channels) // (2 if channel_pool else 1)
