"""HRNet's official PyTorch names: segmentation, OCR, classification, pose; timm's and mmsegmentation's follow them.

The tails that differ between them (`incre_modules`, `ocr_distri_head`, `classifier` …) belong to heads that these names
alone do not fill; the trunk is the same in all.
"""

from __future__ import annotations

from collections.abc import Callable

from paddle_hrfamily.weights.layouts import Layout, Rule

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
        r"stage([234])\.(\d+)\.branches\.(\d)\.(\d+)\.(conv|bn)([12])",
        lambda s, m, i, b, part, n: f"stages.{int(s) - 2}.{m}.branches.{_stride(i)}.{b}.conv{n}.{part}",
    ),
    # From branch j to i: one 1×1 upwards, a chain of strided 3×3 downwards.
    (
        r"stage([234])\.(\d+)\.fuse_layers\.(\d)\.(\d)\.([01])",
        lambda s, m, i, j, part: f"{_exchange(s, m, i, j)}.{_PART[part]}",
    ),
    (
        r"stage([234])\.(\d+)\.fuse_layers\.(\d)\.(\d)\.(\d)\.([01])",
        lambda s, m, i, j, k, part: f"{_exchange(s, m, i, j)}.{k}.{_PART[part]}",
    ),
)


def _exchange(stage: str, module: str, target: str, source: str) -> str:
    return f"stages.{int(stage) - 2}.{module}.exchange.paths.{_stride(source)}_to_{_stride(target)}"


def _backbone(prefix: str) -> tuple[Rule, ...]:
    return tuple((prefix + pattern, _under_backbone(ours)) for pattern, ours in _TRUNK)


def _under_backbone(ours: Callable[..., str]) -> Callable[..., str]:
    return lambda *groups: "backbone." + ours(*groups)


OFFICIAL = Layout(
    name="official HRNet",
    signature=r"stage2\.0\.branches\.0\.0\.conv1\.weight",
    rules=(
        *_backbone(""),
        (r"last_layer\.([01])", lambda part: f"head.mix.{_PART[part]}"),
        (r"last_layer\.3", lambda: "head.classify"),
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
    ),
    padding="symmetric",
    torch=True,
    zero_if_absent=frozenset({"head.mix.conv.bias"}),
)
