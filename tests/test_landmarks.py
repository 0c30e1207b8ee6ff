"""HRNetV2 for facial landmarks: answers, weights, counts and decoding of the official code."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_hrfamily.backbones import HRNet, hrnet
from paddle_hrfamily.complexity import complexity
from paddle_hrfamily.heads.landmark_decoding import decode_landmarks
from paddle_hrfamily.models import HRNetLandmarks
from paddle_hrfamily.models.hrnet_landmarks import LANDMARKS
from paddle_hrfamily.multires import Layout, Stage
from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

NAME = "hrnetv2_landmarks_w18_small"
BOUND = 1e-3


@pytest.fixture(scope="module")
def reduced(parity: Parity) -> HRNetLandmarks:
    """The fixture's network with its weights: W18 of one module a stage and one block a branch, 29 landmarks."""
    stages = (Stage(1, (4, 8)), Stage(1, (4, 8, 16)), Stage(1, (4, 8, 16, 32)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hrnet.VARIANTS, "reduced", Layout(18, stages, blocks=1))
        model = HRNetLandmarks(HRNet("reduced"), LANDMARKS["COFW"])
    report = load_weights(model, parity.state_dict(NAME))
    assert (report.layout, report.missing, report.unexpected) == ("official HRNet", [], [])
    assert sorted(report.matched) == sorted(model.state_dict())
    model.eval()
    return model


# Landmarks -> parameters of the official constructor, and operations: the paper has 9.3 M and 4.3.
COUNTS = {98: (9_662_528, "4.37"), 68: (9_662_528 - 30 * 271, "4.34")}


@pytest.mark.parametrize("size", ["64x64", "45x71"])
def test_heatmaps_equal_the_official_code(parity: Parity, reduced: HRNetLandmarks, size: str) -> None:
    expected = parity.answer(NAME, f"heatmaps_{size}.npy")
    with paddle.no_grad():
        result = reduced(paddle.to_tensor(parity.input_image(NAME, size))).numpy()
    height, width = map(int, size.split("x"))
    assert result.shape == expected.shape == (1, 29, ceil(height / 4), ceil(width / 4))
    assert np.abs(result - expected).max() <= BOUND


def test_points_equal_the_official_code(parity: Parity, reduced: HRNetLandmarks) -> None:
    """Of a crop that is the photograph; the official evaluation cuts to whole pixels, and counts them from one."""
    points, scores = reduced.predict(paddle.to_tensor(parity.input_image(NAME, "64x64")))
    expected = parity.answer(NAME, "heatmaps_64x64.npy").max((2, 3))
    np.testing.assert_allclose(scores.numpy(), expected, atol=BOUND)
    found = expected > 0
    assert 20 < found.sum() < 29
    official = parity.answer(NAME, "points_64x64.npy")
    np.testing.assert_array_equal(np.floor(points.numpy()[found] + 1e-3) + 1, official[found])
    assert (official[~found] == -1).all() and (points.numpy()[~found] == 0).all()


@pytest.mark.parametrize("landmarks", COUNTS)
def test_counts_of_the_zoos_network(landmarks: int) -> None:
    count = complexity(lambda: create_model("hrnet_w18_landmarks", landmarks), 256, 256)
    assert (count.parameters, f"{count.giga:.2f}") == COUNTS[landmarks]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_decoding_equals_the_plain_rule(seed: int) -> None:
    """Cells counted from one, as the official code has them."""
    heatmaps = np.random.RandomState(seed).randn(2, 3, 4, 5).astype("float32") - 0.5
    found, scores = (x.numpy() for x in decode_landmarks(paddle.to_tensor(heatmaps), 4))
    for n, k in np.ndindex(2, 3):
        m = heatmaps[n, k]
        index = int(m.argmax()) + 1
        px, py = (index - 1) % 5 + 1, floor((index - 1) / 5) + 1
        expected = np.array([px, py], "float32")
        if 1 < px < 5 and 1 < py < 4:
            difference = [m[py - 1, px] - m[py - 1, px - 2], m[py, px - 1] - m[py - 2, px - 1]]
            expected += 0.25 * np.sign(difference)
        expected = (expected + 0.5 - 1) * 4
        np.testing.assert_array_equal(found[n, k], expected if m.max() > 0 else [0, 0])
        assert scores[n, k] == m.max()


def test_a_step_reaches_every_parameter() -> None:
    paddle.seed(1)
    model = create_model("hrnet_w18_landmarks", LANDMARKS["AFLW"])
    model.train()
    heatmaps = model(paddle.randn([2, 3, 32, 32]))
    assert heatmaps.shape == [2, 19, 8, 8]
    paddle.nn.functional.mse_loss(heatmaps, paddle.rand(heatmaps.shape)).backward()
    for key, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), key
