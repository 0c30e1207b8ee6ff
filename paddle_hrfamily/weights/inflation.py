"""Weights of RGB images in a network of other channels: the first convolution's kernels, repeated or summed.

With one channel, the three kernels are added: a grey image is answered as RGB with three equal channels. With N, the
kernels of red, green and blue are taken in turn and scaled by 3/N, so that N channels together weigh as three did.
timm does the same (`adapt_input_conv` in timm/models/_manipulate.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RGB = 3


def fits(theirs: Sequence[int], ours: Sequence[int]) -> bool:
    """Whether these are shapes (out, in, height, width) of one first convolution, of RGB and of other channels."""
    same = len(theirs) == len(ours) == 4 and (theirs[0], *theirs[2:]) == (ours[0], *ours[2:])
    return same and theirs[1] == RGB != ours[1]


def inflated(kernels: np.ndarray, channels: int) -> np.ndarray:
    """(out, 3, height, width) -> (out, channels, height, width), of the same type."""
    if channels == 1:
        return kernels.sum(axis=1, keepdims=True)
    repeated = kernels[:, np.arange(channels) % RGB]
    return (repeated * (RGB / channels)).astype(kernels.dtype)
