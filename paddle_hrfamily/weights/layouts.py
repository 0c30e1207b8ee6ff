"""What a published checkpoint layout is: how its names become ours, and the padding that its weights need.

Our names are those of a segmentation network of this package, `backbone.…` and `head.…`. A rule is a regular expression
over a layout's names and a function that writes ours. Each family of layouts has a file of its own, which registers it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from paddle_hrfamily.registry import Registry

if TYPE_CHECKING:  # which imports paddle
    from paddle_hrfamily.layers import Padding

# Our names of what deep supervision adds to a head. It is used in training alone: a network may go without.
AUXILIARY = "head.auxiliary."

Rule = tuple[str, Callable[..., str]]  # pattern of a whole name without its last part, and groups -> our name


@dataclass(frozen=True)
class Layout:
    """One family of checkpoint names.

    `signature` matches a name that every such checkpoint has, `without` names that none has. `padding` is what its
    weights need ("symmetric", "same"), or None if the names do not tell. `dead` matches names of weights that their own
    network never uses. `torch` says that linear weights are (out, in), Paddle's being (in, out). `zero_if_absent` names
    our tensors that the layout's network does without, which is the same as zero; `lacks` matches those of layers that
    it does not have and that begin anew where the network here has them. `refusal` tells why no network here can
    take such weights.
    """

    name: str
    signature: str
    without: str | None = None
    rules: tuple[Rule, ...] = field(default=(), repr=False)
    padding: Padding | None = None
    dead: str | None = None
    torch: bool = False
    zero_if_absent: frozenset[str] = frozenset()
    lacks: str | None = None
    refusal: str | None = None

    def matches(self, keys: Collection[str]) -> bool:
        excluded = self.without is not None and any(re.match(self.without, key) for key in keys)
        return not excluded and any(re.match(self.signature, key) for key in keys)

    def rename(self, key: str) -> str | None:
        """Our name for `key`, or None if it belongs to no part of our networks."""
        path, _, leaf = key.rpartition(".")
        for pattern, ours in self.rules:
            if match := re.fullmatch(pattern, path):
                return f"{ours(*match.groups())}.{_LEAVES.get(leaf, leaf)}"
        return None

    def is_dead(self, key: str) -> bool:
        return self.dead is not None and re.match(self.dead, key) is not None

    def value(self, array: np.ndarray) -> np.ndarray:
        return array.T if self.torch and array.ndim == 2 else array


LAYOUTS: Registry[Layout] = Registry("weight layout")


def register(*layouts: Layout) -> None:
    """Have `load_weights` try these layouts, in this order, behind those that were registered before.

    Raises:
        UserError: another layout has the name of one.
    """
    for layout in layouts:
        LAYOUTS.add(layout.name, layout)


def named(ours: str) -> Callable[[], str]:
    """The second half of a rule whose pattern has no groups."""
    return lambda: ours


_LEAVES = {"running_mean": "_mean", "running_var": "_variance"}  # PyTorch's batch norm -> Paddle's


def strip(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Names without the wrappers of a training run, and what was dropped: losses' tensors, batch norms' step counters.

    `module.` is PyTorch's data parallelism; `model.` a wrapper of network and loss, whose tensors stand beside it.
    """
    dropped = [key for key in arrays if key.endswith("num_batches_tracked")]
    kept = {key: value for key, value in arrays.items() if not key.endswith("num_batches_tracked")}
    for _ in range(3):  # `module.model.` occurs, in either order
        for prefix in ("module.", "model."):
            inside = {key[len(prefix) :]: value for key, value in kept.items() if key.startswith(prefix)}
            outside = [key for key in kept if not key.startswith(prefix)]
            if inside and all(key.startswith("loss.") for key in outside):
                dropped += outside
                kept = inside
    losses = [key for key in kept if key.startswith("loss.")]
    return {key: value for key, value in kept.items() if key not in losses}, dropped + losses
