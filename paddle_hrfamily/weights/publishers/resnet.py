"""ResNet's ImageNet weights, by torchvision and by Paddle."""

from __future__ import annotations

from paddle_hrfamily.registry import Published
from paddle_hrfamily.weights.publishers import data_sets as data
from paddle_hrfamily.weights.publishers.paddleseg import RESNET_SSLD

# The digits in torchvision's file names are the beginning of the file's SHA-256.
_TORCHVISION = {18: "f37072fd", 34: "b627a593", 50: "0676ba61", 101: "63fe2227", 152: "394f9c45"}


def _torchvision(depth: int, digest: str) -> Published:
    source = f"https://download.pytorch.org/models/resnet{depth}-{digest}.pth"
    return Published(source, None, data.IMAGENET, publisher="torchvision", licence="BSD-3-Clause", sha256=digest)


def _paddle(depth: int) -> Published:
    source = f"https://paddle-hapi.bj.bcebos.com/models/resnet{depth}.pdparams"
    return Published(source, None, data.IMAGENET, publisher="paddle.vision", licence="Apache-2.0")


IMAGENET = {
    **{
        f"R{depth}": {"imagenet": _torchvision(depth, digest), "imagenet_paddle": _paddle(depth)}
        for depth, digest in _TORCHVISION.items()
    },
    **{variant: {"ssld": weights} for variant, weights in RESNET_SSLD.items()},
}
