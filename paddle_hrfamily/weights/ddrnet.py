"""DDRNet's published names: the official ones of segmentation and classification, mmsegmentation's, PaddleSeg's.

The first three number the runs of blocks like a ResNet's stages, so that the paper's conv2 is `layer1`, and mark the
fine stream by an underscore: `layer3_`.
"""

from __future__ import annotations

import re

from paddle_hrfamily.weights.layouts import Layout, Rule, named, register

_PART = {"0": "conv", "1": "bn", "_conv": "conv", "_batch_norm": "bn"}  # of a convolution with batch norm
_CHAIN = {"0": "0.conv", "1": "0.bn", "3": "1.conv", "4": "1.bn"}  # of two, with an activation between
_BN_CONV = {"0": "bn", "2": "conv"}  # with the norm in front; behind a pooling both are one further on
_POOLED = {"1": "bn", "3": "conv"}

# Runs of blocks: published name -> ours. DDRNet-39 has conv4 in two runs, `layer3_1` and `layer3_2`.
_RUNS = {
    "layer1": "stem.blocks2",
    "layer2": "stem.blocks3",
    "layer3": "conv4.0.low",
    "layer3_": "conv4.0.high",
    "layer3_1": "conv4.0.low",
    "layer3_1_": "conv4.0.high",
    "layer3_2": "conv4.1.low",
    "layer3_2_": "conv4.1.high",
    "layer4": "conv5.low",
    "layer4_": "conv5.high",
}
_ENDS = {"layer5": "low_end", "layer5_": "high_end"}
_RUN = r"(layer[1-4](?:_[12])?_?)\.(\d+)"
_END = r"(layer5_?)\.0"

# mmsegmentation's: the stem, then three runs on each stream.
_MMSEG_STEM = {"2": "blocks2", "4": "blocks3"}
_MMSEG_STREAMS = {"context": "low", "spatial": "high"}
_MMSEG_FUSIONS = {"1": "conv4.0", "2": "conv5"}

_CONTEXT = r"(?:backbone\.)?context\."  # which no classification network has


def _fusion(n: str, run: str | None) -> str:
    """The stage behind which `compression…` and `down…` of that number fuse."""
    return f"backbone.conv4.{int(run or 1) - 1}" if n == "3" else "backbone.conv5"


def _scale(i: str, part: str) -> str:
    return f"backbone.context.scales.{int(i) - 1}.{part}"


# DAPPM's names, the same in the official code and in PaddleSeg's.
_DAPPM: tuple[Rule, ...] = (
    (r"spp\.scale0\.([02])", lambda part: f"backbone.context.finest.{_BN_CONV[part]}"),
    (r"spp\.scale([1-4])\.([13])", lambda i, part: _scale(i, _POOLED[part])),
    (r"spp\.process([1-4])\.([02])", lambda i, part: f"backbone.context.mixes.{int(i) - 1}.{_BN_CONV[part]}"),
    (r"spp\.compression\.([02])", lambda part: f"backbone.context.compress.{_BN_CONV[part]}"),
    (r"spp\.shortcut\.([02])", lambda part: f"backbone.context.shortcut.{_BN_CONV[part]}"),
)

_OFFICIAL_TRUNK: tuple[Rule, ...] = (
    (r"conv1\.([01])", lambda part: f"backbone.stem.conv1.{_PART[part]}"),
    (r"conv1\.([34])", lambda part: f"backbone.stem.conv2.{_PART[str(int(part) - 3)]}"),
    (_RUN + r"\.(conv|bn)([12])", lambda run, b, part, n: f"backbone.{_RUNS[run]}.{b}.conv{n}.{part}"),
    (_RUN + r"\.downsample\.([01])", lambda run, b, part: f"backbone.{_RUNS[run]}.{b}.downsample.{_PART[part]}"),
    (_END + r"\.(conv|bn)([123])", lambda end, part, n: f"backbone.{_ENDS[end]}.conv{n}.{part}"),
    (_END + r"\.downsample\.([01])", lambda end, part: f"backbone.{_ENDS[end]}.downsample.{_PART[part]}"),
    (r"compression([34])(?:_([12]))?\.([01])", lambda n, run, part: f"{_fusion(n, run)}.low_to_high.{_PART[part]}"),
    (r"down([34])(?:_([12]))?\.([0134])", lambda n, run, part: f"{_fusion(n, run)}.high_to_low.{_CHAIN[part]}"),
)


_HeadNames = tuple[str, str, str, str]  # of the first batch norm and convolution, and of the second ones
_OFFICIAL_HEAD = ("bn1", "conv1", "bn2", "conv2")


def _head(ours: str, prefix: str, published: _HeadNames) -> tuple[Rule, ...]:
    parts = ("mix.bn", "mix.conv", "bn", "classify")
    return tuple((re.escape(f"{prefix}.{theirs}"), named(f"{ours}.{part}")) for part, theirs in zip(parts, published))


OFFICIAL = Layout(
    name="official DDRNet",
    signature=r"spp\.scale0\.0\.running_mean",
    rules=(
        *_OFFICIAL_TRUNK,
        *_DAPPM,
        *_head("head", "final_layer", _OFFICIAL_HEAD),
        *_head("head.auxiliary", "seghead_extra", _OFFICIAL_HEAD),
    ),
    padding="symmetric",
    torch=True,
)

CLASSIFICATION = Layout(
    name="official DDRNet classification",
    signature=r"down5\.0\.weight",
    rules=(
        *_OFFICIAL_TRUNK,
        (r"down5\.([0134])", lambda part: f"head.high_to_low.{_CHAIN[part]}"),
        (r"last_layer\.([01])", lambda part: f"head.mix.{_PART[part]}"),
        (r"linear", lambda: "head.classify"),
    ),
    padding="symmetric",
    torch=True,
    lacks=_CONTEXT,
)


def _mmseg_run(stream: str, i: str) -> str:
    """Runs 0 and 1 of a stream are conv4 and conv5, by their blocks; 2 is its bottleneck, a chain of one."""
    side = _MMSEG_STREAMS[stream]
    return f"backbone.{_MMSEG_FUSIONS[str(int(i) + 1)]}.{side}" if i != "2" else f"backbone.{side}_end"


def _mmseg_block(stream: str, i: str, b: str) -> str:
    return _mmseg_run(stream, i) + ("" if i == "2" else f".{b}")


_MMSEG_BLOCK = r"(?:backbone\.)?(context|spatial)_branch_layers\.([012])\.(\d+)"


MMSEG = Layout(
    name="mmsegmentation DDRNet",
    signature=r"(?:backbone\.)?spatial_branch_layers\.0\.0\.conv1\.conv\.weight",
    rules=(
        (r"(?:backbone\.)?stem\.([01])\.(conv|bn)", lambda i, part: f"backbone.stem.conv{int(i) + 1}.{part}"),
        (
            r"(?:backbone\.)?stem\.([24])\.(\d+)\.(conv[12]\.(?:conv|bn))",
            lambda i, b, conv: f"backbone.stem.{_MMSEG_STEM[i]}.{b}.{conv}",
        ),
        (
            r"(?:backbone\.)?stem\.([24])\.(\d+)\.downsample\.([01])",
            lambda i, b, part: f"backbone.stem.{_MMSEG_STEM[i]}.{b}.downsample.{_PART[part]}",
        ),
        (_MMSEG_BLOCK + r"\.(conv[123]\.(?:conv|bn))", lambda s, i, b, conv: f"{_mmseg_block(s, i, b)}.{conv}"),
        (
            _MMSEG_BLOCK + r"\.downsample\.([01])",
            lambda s, i, b, part: f"{_mmseg_block(s, i, b)}.downsample.{_PART[part]}",
        ),
        (
            r"(?:backbone\.)?compression_([12])\.(conv|bn)",
            lambda n, part: f"backbone.{_MMSEG_FUSIONS[n]}.low_to_high.{part}",
        ),
        (r"(?:backbone\.)?down_1\.(conv|bn)", lambda part: f"backbone.conv4.0.high_to_low.0.{part}"),
        (r"(?:backbone\.)?down_2\.([01]\.(?:conv|bn))", lambda conv: f"backbone.conv5.high_to_low.{conv}"),
        (r"(?:backbone\.)?spp\.scales\.0\.(bn|conv)", lambda part: f"backbone.context.finest.{part}"),
        (r"(?:backbone\.)?spp\.scales\.([1-4])\.1\.(bn|conv)", _scale),
        (r"(?:backbone\.)?spp\.processes\.([0-3]\.(?:bn|conv))", lambda conv: f"backbone.context.mixes.{conv}"),
        (r"(?:backbone\.)?spp\.compression\.(bn|conv)", lambda part: f"backbone.context.compress.{part}"),
        (r"(?:backbone\.)?spp\.shortcut\.(bn|conv)", lambda part: f"backbone.context.shortcut.{part}"),
        *_head("head", "decode_head", ("head.0.bn", "head.0.conv", "head.1", "conv_seg")),
        *_head("head.auxiliary", "decode_head", ("aux_head.0.bn", "aux_head.0.conv", "aux_head.1", "aux_cls_seg")),
    ),
    padding="symmetric",
    torch=True,
    lacks=_CONTEXT,  # its ImageNet weights, whose names have no prefix
    zero_if_absent=frozenset(f"{prefix}stem.conv{n}.conv.bias" for prefix in ("", "backbone.") for n in (1, 2)),
)

_BASIC = {"conv_bn_relu": "conv1", "conv_bn": "conv2"}
_BOTTLENECK = {"conv_bn_relu1": "conv1", "conv_bn_relu2": "conv2", "conv_bn": "conv3"}
_PADDLE = r"\.(_conv|_batch_norm)"
_PADDLESEG_HEAD = ("bn1", "conv_bn_relu._conv", "conv_bn_relu._batch_norm", "conv")

PADDLESEG = Layout(
    name="PaddleSeg DDRNet",
    signature=r"layer3_\.0\.conv_bn_relu\._conv\.weight",
    rules=(
        (r"conv1\.([01])" + _PADDLE, lambda i, part: f"backbone.stem.conv{int(i) + 1}.{_PART[part]}"),
        (
            _RUN + r"\.(conv_bn_relu|conv_bn)" + _PADDLE,
            lambda run, b, conv, part: f"backbone.{_RUNS[run]}.{b}.{_BASIC[conv]}.{_PART[part]}",
        ),
        (_RUN + r"\.downsample\.([01])", lambda run, b, part: f"backbone.{_RUNS[run]}.{b}.downsample.{_PART[part]}"),
        (
            _END + r"\.(conv_bn_relu[12]|conv_bn)" + _PADDLE,
            lambda end, conv, part: f"backbone.{_ENDS[end]}.{_BOTTLENECK[conv]}.{_PART[part]}",
        ),
        (_END + r"\.downsample\.([01])", lambda end, part: f"backbone.{_ENDS[end]}.downsample.{_PART[part]}"),
        (r"compression([34])" + _PADDLE, lambda n, part: f"{_fusion(n, None)}.low_to_high.{_PART[part]}"),
        (r"down3" + _PADDLE, lambda part: f"backbone.conv4.0.high_to_low.0.{_PART[part]}"),
        (r"down4\.([01])" + _PADDLE, lambda i, part: f"backbone.conv5.high_to_low.{i}.{_PART[part]}"),
        *_DAPPM,
        *_head("head", "head", _PADDLESEG_HEAD),
        *_head("head.auxiliary", "aux_head", _PADDLESEG_HEAD),
    ),
    padding="same",
    lacks=_CONTEXT,  # its ImageNet start; one that has the context all the same fills it
)

register(OFFICIAL, CLASSIFICATION, MMSEG, PADDLESEG)
