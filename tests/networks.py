"""Numbers and answers that the networks are held to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
import pytest

from paddle_hrfamily.weights.layouts import Layout

# (million parameters, GFLOPs at 1024x2048) with 19 classes, counted on the unmodified official code; GFLOPs are
# convolution multiply-accumulates / 2^30, as the papers count. Blank where the official code was not counted.
PUBLISHED = {
    "hrnet_w18_small_v1": ("1.5408", "31.098"),
    "hrnet_w18_small_v2": ("3.9396", "71.579"),
    "hrnet_w18": ("9.6411", "137.278"),
    "hrnet_w32": ("29.5465", "336.418"),
    "hrnet_w40": ("45.8944", "498.674"),
    "hrnet_w48": ("65.8594", "696.176"),
    "uhrnet_w18_small": ("13.2408", "73.058"),
    "uhrnet_w18": ("25.9730", "137.637"),
    "uhrnet_w48": ("181.9414", "698.640"),
    "hrnet_w18_small_v2_ocr": ("6.3793", "328.647"),
    "hrnet_w18_ocr": ("12.0808", "394.346"),
    "hrnet_w48_ocr": ("70.3727", "1206.369"),
}


def assert_gradient_norms(model: paddle.nn.Layer, layout: Layout, norms: Mapping[str, float]) -> None:
    """Every parameter has a gradient, of the norm that the official code's has under its own name."""
    gradients = {key: p.grad.numpy() for key, p in model.named_parameters() if p.trainable}
    ours = {official: layout.rename(official) for official in norms}
    assert set(ours.values()) == set(gradients)
    for official, norm in norms.items():
        # A bias in front of a batch norm has no gradient but rounding.
        assert np.linalg.norm(gradients[ours[official]]) == pytest.approx(norm, rel=1e-3, abs=1e-12), official


def assert_running_means(model: paddle.nn.Layer, layout: Layout, data: np.lib.npyio.NpzFile) -> None:
    """Means alone: Paddle's running variance is of the biased batch variance, torch's of the unbiased."""
    state = model.state_dict()
    means = [key for key in data.files if key.endswith("running_mean")]
    assert len(means) > 50
    for key in means:
        result = state[layout.rename(key.removeprefix("rs:"))].numpy()
        np.testing.assert_allclose(result, data[key], rtol=1e-3, atol=1e-4)
