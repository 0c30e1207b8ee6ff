"""Official PyTorch names of what stands on HRNet's trunk in classification (and timm), pose, landmarks, detection."""

from __future__ import annotations

from paddle_hrfamily.weights.layouts import Rule

_PART = {"0": "conv", "1": "bn"}

CLASSIFICATION: tuple[Rule, ...] = (
    (r"incre_modules\.(\d)\.0\.(conv|bn)([123])", lambda i, part, n: f"head.widen.{i}.conv{n}.{part}"),
    (r"incre_modules\.(\d)\.0\.downsample\.([01])", lambda i, part: f"head.widen.{i}.downsample.{_PART[part]}"),
    (r"downsamp_modules\.(\d)\.([01])", lambda i, part: f"head.fold.{i}.{_PART[part]}"),
    (r"final_layer\.([01])", lambda part: f"head.expand.{_PART[part]}"),
    (r"classifier", lambda: "head.linear"),
)

POSE: tuple[Rule, ...] = ((r"final_layer", lambda: "head.heatmaps"),)

LANDMARKS: tuple[Rule, ...] = (
    (r"head\.([01])", lambda part: f"head.mix.{_PART[part]}"),
    (r"head\.3", lambda: "head.classify"),
)

# The neck of a detector; OpenMMLab wraps each convolution once more.
PYRAMID: tuple[Rule, ...] = (
    (r"(?:neck\.)?reduction_conv\.(?:0|conv)", lambda: "head.reduce"),
    (r"(?:neck\.)?fpn_convs?\.(\d+)(?:\.conv)?", lambda i: f"head.levels.{i}"),
)
