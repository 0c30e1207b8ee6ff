"""What a user may write as `pretrained`: the short name of published weights, or a place.

The names stand beside each backbone, which registers them. Their sources are Hugging Face's timm collection (HRNet's
authors' ImageNet weights and others', MIT), PaddleSeg's store, and for ResNets torchvision's and Paddle's own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import BACKBONES, Published
from paddle_hrfamily.weights.fetching import HUB_PREFIX

if TYPE_CHECKING:  # which imports paddle
    from paddle_hrfamily.layers import Padding

_PADDLESEG = "https://bj.bcebos.com/paddleseg/dygraph/"


def timm(repository: str) -> Published:
    """Weights in timm's collection on Hugging Face, whose networks pad as the official ones do."""
    return Published(f"{HUB_PREFIX}timm/{repository}", "symmetric")


def paddleseg(path: str, padding: Padding | None = "same") -> Published:
    """Weights in PaddleSeg's store. Those of its HRNet, U-HRNet and DDRNet need its padding."""
    return Published(_PADDLESEG + path, padding)


def resolve(backbone: str, variant: str, pretrained: str) -> Published:
    """Where to get what a user wrote as `pretrained` for that variant, and the padding to build the network with.

    Args:
        backbone: its name in configs, such as "HRNet".
        variant: such as "W48".
        pretrained: a published name; a path, URL or hub name is passed through, with no padding known.

    Raises:
        UserError: no weights of that name are published.
    """
    if not _is_short_name(pretrained):
        return Published(pretrained, None)
    registered = BACKBONES.get(backbone)
    names = registered.weights.get(variant, {}) if registered else {}
    if pretrained not in names:
        known = f"there are {', '.join(names)}" if names else "none are"
        raise UserError(
            f"no weights {pretrained!r} are published for {backbone} {variant}; {known}; or give a file, a URL or "
            f"{HUB_PREFIX}OWNER/REPO"
        )
    return names[pretrained]


def _is_short_name(text: str) -> bool:
    return re.fullmatch(r"\w+", text) is not None and not Path(text).exists()
