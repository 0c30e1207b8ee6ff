"""HRNetV2p: answers, sizes, gradients, weights."""

from __future__ import annotations

from math import ceil

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.complexity import complexity, trainable_parameters
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.heads import PyramidHead
from paddle_hrfamily.models import HRFPN
from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.zoo import create_model, list_models
from tests.parity import Parity

NAME = "hrnetv2p_hrfpn_w18"
BOUND = 1e-3


def streams(image: np.ndarray) -> list[paddle.Tensor]:
    """The four features that the fixture feeds its pyramid: averaged colour channels, each repeated with a gain."""
    feats = []
    for i, (colour, channels) in enumerate([(0, 18), (1, 36), (2, 72), (0, 144)]):
        n, _, h, w = image.shape
        f = 2**i
        pooled = image[:, colour : colour + 1].reshape(n, 1, h // f, f, w // f, f).mean(axis=(3, 5))
        gain = np.linspace(-1, 1, channels, dtype="float32").reshape(1, -1, 1, 1)
        feats.append(paddle.to_tensor((pooled * gain).astype("float32")))
    return feats


@pytest.fixture(scope="module")
def small() -> HRFPN:
    model = create_model("hrnet_w18_small_v1_fpn")
    model.eval()
    return model


def test_levels_equal_the_official_code(parity: Parity) -> None:
    model = create_model("hrnet_w18_fpn")
    weights = parity.state_dict(NAME)
    report = load_weights(model, weights, allow_partial=True)  # the neck alone, without a backbone
    assert report.layout == "official HRFPN" and len(report.matched) == len(weights) == 12 and not report.unexpected
    with paddle.no_grad():
        levels = model.head(streams(parity.input_image(NAME, "32x64")))
    assert len(levels) == 5
    for i, level in enumerate(levels, start=2):
        expected = parity.answer(NAME, f"p{i}_32x64.npy")
        assert level.shape == list(expected.shape)
        assert np.abs(level.numpy() - expected).max() <= BOUND, f"p{i}"


def test_a_detectors_checkpoint_fills_backbone_and_pyramid(parity: Parity) -> None:
    """The names of a whole detector: its backbone and neck under their prefixes, heads of its own beside them."""
    trunk = parity.state_dict("hrnet_w18_cls_timm")
    tails = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
    weights = {f"backbone.{key}": value for key, value in trunk.items() if not key.startswith(tails)}
    weights |= {f"neck.{key}": value for key, value in parity.state_dict(NAME).items()}
    weights |= {"rpn_head.rpn_conv.weight": np.zeros((256, 256, 3, 3), "f4")}
    model = create_model("hrnet_w18_fpn")
    report = load_weights(model, {"state_dict": weights}, part="auto")
    assert sorted(report.matched) == sorted(model.state_dict())
    assert report.unexpected == ["rpn_head.rpn_conv.weight"]
    np.testing.assert_array_equal(model.head.levels[4].bias.numpy(), weights["neck.fpn_conv.4.bias"])


@settings(max_examples=10, deadline=None)
@given(height=st.integers(32, 99), width=st.integers(32, 99))
def test_a_level_of_stride_s_is_the_image_over_s_rounded_up(small: HRFPN, height: int, width: int) -> None:
    with paddle.no_grad():
        levels = small(paddle.zeros([1, 3, height, width]))
    assert small.feat_strides == [4, 8, 16, 32, 64]
    assert [x.shape for x in levels] == [[1, 256, ceil(height / s), ceil(width / s)] for s in small.feat_strides]


def test_a_cell_over_the_edge_averages_what_there_is() -> None:
    head = PyramidHead([4], channels=1, levels=3)
    for conv, weight in zip((head.reduce, *head.levels), (1 / 4, 1, 1, 1)):
        kernel = np.zeros(conv.weight.shape, "float32")
        kernel[:, :, kernel.shape[2] // 2, kernel.shape[3] // 2] = weight  # passes its input on
        conv.weight.set_value(kernel)
    rows = np.arange(5, dtype="float32")[:, None] * 10 + np.arange(7, dtype="float32")
    one, half, quarter = head([paddle.to_tensor(np.broadcast_to(rows, (1, 4, 5, 7)).copy())])
    np.testing.assert_allclose(one.numpy()[0, 0], rows, rtol=1e-5)
    np.testing.assert_allclose(half.numpy()[0, 0, 2], [40.5, 42.5, 44.5, 46], rtol=1e-5)
    np.testing.assert_allclose(quarter.numpy()[0, 0], [[16.5, 20], [41.5, 45]], rtol=1e-5)


@pytest.mark.parametrize("backbone", [HRNet, UHRNet])
def test_every_parameter_gets_a_finite_gradient_from_an_odd_image(backbone: type) -> None:
    paddle.seed(1)
    model = HRFPN(backbone("W18_Small_V1" if backbone is HRNet else "W18_Small"), channels=8)
    model.train()
    sum(level.square().mean() for level in model(paddle.randn([1, 3, 71, 45]))).backward()
    for key, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), key


def test_the_pyramid_costs_what_its_convolutions_cost() -> None:
    """On top of the backbone: 240 -> 256 by 1×1 at 1/4, then a 3×3 of 256 channels at every level."""
    name, height, width = "W18_Small_V1", 200, 300
    pyramid = complexity(lambda: create_model(f"hrnet_{name.lower()}_fpn"), height, width)
    backbone = complexity(lambda: HRNet(name, upsampling="nearest"), height, width)
    cells = [ceil(height / s) * ceil(width / s) for s in (4, 8, 16, 32, 64)]
    assert pyramid.macs - backbone.macs == 240 * 256 * cells[0] + 256 * 256 * 9 * sum(cells)
    assert trainable_parameters(PyramidHead([18, 36, 72, 144])) == 3_019_776  # the official code's


def test_every_dense_variant_has_a_pyramid_and_none_has_classes() -> None:
    assert {"hrnet_w18_fpn", "hrnet_w32_fpn", "hrnet_w40_fpn", "hrnet_w48_fpn"} <= set(list_models("*_fpn"))
    with pytest.raises(UserError, match="hrnet_w18_fpn has no option num_classes"):
        create_model("hrnet_w18_fpn", 19)
