"""HRNet's official PyTorch names: segmentation, OCR, classification, pose; timm's and mmsegmentation's follow them.

The tails that differ between them (`incre_modules`, `ocr_distri_head`, `classifier` …) belong to heads that these names
alone do not fill; the trunk is the same in all.
"""

from __future__ import annotations

from collections.abc import Callable

from paddle_hrfamily.weights.hrnet_heads import CLASSIFICATION, LANDMARKS, POSE, PYRAMID
from paddle_hrfamily.weights.layouts import Layout, Rule, register

_PART = {"conv": "conv", "bn": "bn", "0": "conv", "1": "bn"}  # of a convolution with batch norm


def _stride(branch: str) -> int:
    return 4 << int(branch)


_TRUNK: tuple[Rule, ...] = (
    (r"(conv|bn)([12])", lambda part, n: f"stem.conv{n}.{part}"),
    (r"layer1\.(\d+)\.(conv|bn)([123])", lambda b, part, n: f"stem.blocks.{b}.conv{n}.{part}"),
    (r"layer1\.(\d+)\.downsample\.([01])", lambda b, part: f"stem.blocks.{b}.downsample.{_PART[part]}"),
    # A grown stream's convolution stands in a chain of one.
    (
        r"transition([123])\.(\d)(?:\.0)?\.([01])",
        lambda t, i, part: f"transitions.{int(t) - 1}.paths.{_stride(i)}.{_PART[part]}",
    ),
    (
        r"stage([234])\.(\d+)\.branches\.(\d)\.(\d+)\.(conv|bn)([123])",
        lambda s, m, i, b, part, n: f"stages.{int(s) - 2}.{m}.branches.{_stride(i)}.{b}.conv{n}.{part}",
    ),
    # From branch j to i: one 1×1 upwards, a chain of strided 3×3 downwards.
    (
        r"stage([234])\.(\d+)\.fuse_layers\.(\d)\.(\d)\.([01])",
        lambda s, m, i, j, part: f"{_fusion_layer(s, m, i, j)}.{_PART[part]}",
    ),
    (
        r"stage([234])\.(\d+)\.fuse_layers\.(\d)\.(\d)\.(\d)\.([01])",
        lambda s, m, i, j, k, part: f"{_fusion_layer(s, m, i, j)}.{k}.{_PART[part]}",
    ),
)


def _fusion_layer(stage: str, module: str, target: str, source: str) -> str:
    return f"stages.{int(stage) - 2}.{module}.exchange.paths.{_stride(source)}_to_{_stride(target)}"


def _backbone(prefix: str) -> tuple[Rule, ...]:
    return tuple((prefix + pattern, _under_backbone(ours)) for pattern, ours in _TRUNK)


def _under_backbone(ours: Callable[..., str]) -> Callable[..., str]:
    return lambda *groups: "backbone." + ours(*groups)


# OCR: published block -> ours; its convolutions stand in chains of (convolution, (batch norm)).
_OCR = {"f_pixel": "query", "f_object": "key", "f_down": "value", "f_up": "out"}
_OCR_PART = {"0": "0.conv", "1.0": "0.bn", "2": "1.conv", "3.0": "1.bn"}

_OCR_HEAD: tuple[Rule, ...] = (
    (r"conv3x3_ocr\.([01])", lambda part: f"head.pixels.{_PART[part]}"),
    (
        r"ocr_distri_head\.object_context_block\.(f_pixel|f_object)\.(0|1\.0|2|3\.0)",
        lambda block, part: f"head.attention.{_OCR[block]}.{_OCR_PART[part]}",
    ),
    (
        r"ocr_distri_head\.object_context_block\.(f_down|f_up)\.([01])(?:\.0)?",
        lambda block, part: f"head.attention.{_OCR[block]}.{_PART[part]}",
    ),
    (r"ocr_distri_head\.conv_bn_dropout\.([01])(?:\.0)?", lambda part: f"head.augment.{_PART[part]}"),
    (r"cls_head", lambda: "head.classifier"),
    (r"aux_head\.([01])", lambda part: f"head.regions.0.{_PART[part]}"),
    (r"aux_head\.3", lambda: "head.regions.1"),
)

# mmsegmentation's OCR: a cascade of its FCN head, which makes the regions, and of the rest.
_MMSEG_OCR = {"query_project": "query", "key_project": "key", "value_project": "value", "out_project": "out"}
_MMSEG_OCR_HEAD: tuple[Rule, ...] = (
    (r"decode_head\.0\.convs\.0\.(conv|bn)", lambda part: f"head.regions.0.{part}"),
    (r"decode_head\.0\.conv_seg", lambda: "head.regions.1"),
    (r"decode_head\.1\.bottleneck\.(conv|bn)", lambda part: f"head.pixels.{part}"),
    (
        r"decode_head\.1\.object_context_block\.(query_project|key_project)\.([01])\.(conv|bn)",
        lambda block, n, part: f"head.attention.{_MMSEG_OCR[block]}.{n}.{part}",
    ),
    (
        r"decode_head\.1\.object_context_block\.(value_project|out_project)\.(conv|bn)",
        lambda block, part: f"head.attention.{_MMSEG_OCR[block]}.{part}",
    ),
    (r"decode_head\.1\.object_context_block\.bottleneck\.(conv|bn)", lambda part: f"head.augment.{part}"),
    (r"decode_head\.1\.conv_seg", lambda: "head.classifier"),
)

OFFICIAL = Layout(
    name="official HRNet",
    signature=r"stage2\.0\.branches\.0\.0\.conv1\.weight",
    rules=(
        *_backbone(""),
        (r"last_layer\.([01])", lambda part: f"head.mix.{_PART[part]}"),
        (r"last_layer\.3", lambda: "head.classify"),
        *_OCR_HEAD,
        *CLASSIFICATION,
        *POSE,
        *LANDMARKS,
    ),
    padding="symmetric",
    torch=True,
)

MMSEG = Layout(
    name="mmsegmentation HRNet",
    signature=r"backbone\.stage2\.0\.branches\.0\.0\.conv1\.weight",
    rules=(
        *_backbone(r"backbone\."),
        (r"decode_head\.convs\.0\.(conv|bn)", lambda part: f"head.mix.{part}"),
        (r"decode_head\.conv_seg", lambda: "head.classify"),
        *_MMSEG_OCR_HEAD,
        *PYRAMID,
    ),
    padding="symmetric",
    torch=True,
    zero_if_absent=frozenset({"head.mix.conv.bias", "head.pixels.conv.bias", "head.regions.0.conv.bias"}),
)

HRFPN = Layout(
    name="official HRFPN",
    signature=r"reduction_conv\.0\.weight",
    rules=PYRAMID,
    torch=True,
)

register(OFFICIAL, MMSEG, HRFPN)
