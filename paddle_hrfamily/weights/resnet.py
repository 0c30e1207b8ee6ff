"""ResNet's published names: torchvision's (also timm's and paddle.vision's), PaddleSeg's and PaddleClas's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

from paddle_hrfamily.weights.layouts import Layout, register

_PART = {"0": "conv", "1": "bn", "_conv": "conv", "_batch_norm": "bn"}
_FROM_ZERO = {"conv0": "conv1", "conv1": "conv2", "conv2": "conv3", "short": "downsample"}  # Paddle's, of a block
_CLASSIFIER = r"(fc|out)\."


def _block(stage: int, block: int, conv: str, part: str) -> str:
    return f"backbone.stages.{stage}.{block}.{conv}.{_PART.get(part, part)}"


TORCHVISION = Layout(
    name="torchvision ResNet",
    signature=r"layer4\.0\.conv1\.weight",
    without=r"layer[45]_\.",  # DDRNet's second branch; its first has the names of a ResNet
    rules=(
        (r"(conv|bn)1", lambda part: f"backbone.stem.conv1.{part}"),
        (r"layer([1-4])\.(\d+)\.(conv|bn)([123])", lambda s, b, part, n: _block(int(s) - 1, int(b), f"conv{n}", part)),
        (r"layer([1-4])\.(\d+)\.downsample\.([01])", lambda s, b, part: _block(int(s) - 1, int(b), "downsample", part)),
    ),
    dead=_CLASSIFIER,
)

PADDLESEG = Layout(
    name="PaddleSeg ResNet-vd",
    signature=r"(backbone\.)?conv1_1\._conv\.weight",
    rules=(
        (
            r"(?:backbone\.)?conv1_([123])\.(_conv|_batch_norm)",
            lambda n, part: f"backbone.stem.conv{n}.{_PART[part]}",
        ),
        (
            r"(?:backbone\.)?bb_([0-3])_(\d+)\.(conv[012]|short)\.(_conv|_batch_norm)",
            lambda s, b, conv, part: _block(int(s), int(b), _FROM_ZERO[conv], part),
        ),
    ),
    dead=_CLASSIFIER,
)


def _paddleclas(depths: tuple[int, ...]) -> Layout:
    """PaddleClas numbers the blocks through all stages: which stage one is in depends on the stages' depths."""
    blocks = sum(depths)
    return Layout(
        name=f"PaddleClas ResNet of {blocks} blocks",
        signature=rf"blocks\.{blocks - 1}\.conv0\.conv\.weight",
        without=rf"blocks\.{blocks}\.",
        rules=(
            (r"stem\.([012])\.(conv|bn)", lambda n, part: f"backbone.stem.conv{int(n) + 1}.{part}"),
            (r"blocks\.(\d+)\.(conv[012]|short)\.(conv|bn)", _numbered(depths)),
        ),
        dead=_CLASSIFIER,
    )


def _numbered(depths: tuple[int, ...]) -> Callable[[str, str, str], str]:
    starts = (0, *accumulate(depths[:-1]))

    def rename(index: str, conv: str, part: str) -> str:
        stage = max(stage for stage, start in enumerate(starts) if start <= int(index))
        return _block(stage, int(index) - starts[stage], _FROM_ZERO[conv], part)

    return rename


_SHALLOW = Layout(
    name="PaddleClas ResNet-18 or -34",
    signature=r"blocks\.0\.short\.conv\.weight",
    without=r"blocks\.0\.conv2\.|stem\.2\.",  # the deeper ones, and the vd ones
    refusal="PaddleClas's ResNet-18 and -34 have a projection in their first block, which other ResNets do without and "
    "no network here has; take torchvision's or paddle.vision's weights, or the variant and weights R18_vd or R34_vd",
)

PADDLECLAS = (_SHALLOW, *map(_paddleclas, ((3, 8, 36, 3), (3, 4, 23, 3), (3, 4, 6, 3), (2, 2, 2, 2))))

register(TORCHVISION, PADDLESEG, *PADDLECLAS)
