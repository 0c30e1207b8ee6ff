"""U-HRNet's averaging of channel pairs as a 1×1 convolution with two weights of a half in each row.

Runtimes keep channels side by side in memory, where taking every second one is slow and a convolution is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import paddle
from paddle.nn import functional as F

from paddle_hrfamily import multires
from paddle_hrfamily.patching import patched


@contextmanager
def by_convolution() -> Iterator[None]:
    """Within the `with`, `halve_channels` is such a convolution in the networks of this package."""
    with patched(multires, halve_channels=_halve_channels):
        yield


@paddle.jit.not_to_static
def _halve_channels(x: paddle.Tensor) -> paddle.Tensor:
    weight = np.repeat(np.eye(x.shape[1] // 2, dtype=np.float32), 2, axis=1) / 2  # (C/2, C)
    return F.conv2d(x, paddle.to_tensor(weight[:, :, None, None]))
