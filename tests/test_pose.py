"""HRNetV1 pose estimation: answers, counts, sizes, gradients; targets, loss and decoding."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_hrfamily.backbones import HRNet, hrnet
from paddle_hrfamily.complexity import complexity
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.heads.pose_decoding import FLIP_PAIRS, decode, flip_average
from paddle_hrfamily.losses.heatmap import HeatmapLoss, gaussian_targets
from paddle_hrfamily.models import HRNetPose
from paddle_hrfamily.multires import Layout, Stage
from paddle_hrfamily.weights import load_weights, save
from paddle_hrfamily.weights.files import open_weights
from paddle_hrfamily.weights.loading import canonical
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

NAME = "hrnetv1_pose_w18_small"
BOUND = 1e-3
COCO = FLIP_PAIRS["coco"]
# (model, height, width) -> million parameters and GFLOPs, counted on the official code.
COUNTS = {
    ("hrnet_w32_pose", 256, 192): ("28.5361", "7.120"),
    ("hrnet_w32_pose", 384, 288): ("28.5361", "16.020"),
    ("hrnet_w48_pose", 256, 192): ("63.5957", "14.614"),
    ("hrnet_w48_pose", 384, 288): ("63.5957", "32.882"),
}


@pytest.fixture
def reduced(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> HRNetPose:
    """The fixture's network, W18-small-v2 but for a stage 1 of four blocks, with the fixture's weights."""
    stages = (Stage(1, (4, 8)), Stage(3, (4, 8, 16)), Stage(2, (4, 8, 16, 32)))
    monkeypatch.setitem(hrnet.VARIANTS, "reduced", Layout(18, stages, blocks=2))
    model = HRNetPose(HRNet("reduced", upsampling="nearest", finest_alone=True))
    report = load_weights(model, parity.state_dict(NAME))
    assert (report.layout, report.missing, report.unexpected) == ("official HRNet", [], [])
    assert sorted(report.matched) == sorted(model.state_dict())
    model.eval()
    return model


def test_heatmaps_equal_the_official_code(parity: Parity, reduced: HRNetPose) -> None:
    expected = parity.answer(NAME, "heatmaps_128x256.npy")
    with paddle.no_grad():
        result = reduced(paddle.to_tensor(parity.input_image(NAME, "128x256"))).numpy()
    assert result.shape == expected.shape == (1, 17, 32, 64)
    assert np.abs(result - expected).max() <= BOUND


def test_official_weights_become_a_file_of_ones_own(shared: Path, reduced: HRNetPose, tmp_path: Path) -> None:
    save(reduced.state_dict(), tmp_path / "pose.safetensors", padding="symmetric")
    _, arrays = canonical(open_weights(tmp_path / "pose.safetensors"), "pose")
    assert set(arrays) == set(reduced.state_dict())
    other = HRNetPose(
        HRNet("reduced", upsampling="nearest", finest_alone=True), pretrained=str(tmp_path / "pose.safetensors")
    )
    for name, value in reduced.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy())


@pytest.mark.parametrize("case", COUNTS, ids=str)
def test_counts_equal_the_official_code_to_the_last_digit(case: tuple[str, int, int]) -> None:
    name, height, width = case
    count = complexity(lambda: create_model(name), height, width)
    assert (f"{count.parameters / 1e6:.4f}", f"{count.giga:.3f}") == COUNTS[case]


@pytest.mark.parametrize("size", [(32, 32), (45, 33), (97, 71)])
def test_any_size_has_heatmaps_of_a_quarter_rounded_up(size: tuple[int, int]) -> None:
    model = create_model("hrnet_w18_small_v1_pose", 5)
    model.eval()
    with paddle.no_grad():
        heatmaps = model(paddle.randn([1, 3, *size]))
    assert heatmaps.shape == [1, 5, ceil(size[0] / 4), ceil(size[1] / 4)]


def test_a_few_steps_learn_a_pose_and_every_parameter_takes_part() -> None:
    paddle.seed(1)
    rng = np.random.RandomState(1)
    model = create_model("hrnet_w18_small_v1_pose", 3)
    model.train()
    image = paddle.to_tensor(rng.randn(2, 3, 65, 47).astype("float32"))
    joints = rng.uniform([0, 0], [46, 64], (2, 3, 2))
    targets, weights = map(paddle.to_tensor, gaussian_targets(joints, np.ones((2, 3)), (17, 12)))
    optimizer = paddle.optimizer.Adam(1e-3, parameters=model.parameters())
    losses = []
    for step in range(12):
        loss = HeatmapLoss()(model(image), targets, weights)
        loss.backward()
        if step == 1:  # at first the last layer is near zero
            for key, parameter in model.named_parameters():
                if parameter.trainable:
                    assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), key
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


# --- what a network is to answer ---


def slow_targets(
    joints: np.ndarray, weights: np.ndarray, size: tuple[int, int], sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Joint by joint, cell by cell."""
    heatmaps, kept = np.zeros((len(joints), *size), "float32"), np.zeros(len(joints), "float32")
    for k, (x, y) in enumerate(joints):
        column, row = int(np.floor(x / 4 + 0.5)), int(np.floor(y / 4 + 0.5))
        for i in range(size[0]):
            for j in range(size[1]):
                if abs(i - row) <= 3 * sigma and abs(j - column) <= 3 * sigma:
                    kept[k] = weights[k]
                    if weights[k] > 0:
                        heatmaps[k, i, j] = np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
    return heatmaps, kept


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), sigma=st.sampled_from([1.0, 2.0, 3.0]))
def test_targets_equal_the_plain_ones(seed: int, sigma: float) -> None:
    rng = np.random.RandomState(seed)
    joints = rng.uniform(-60, 120, (6, 2))
    weights = rng.choice([0, 1, 1.5], 6)
    for result, expected in zip(
        gaussian_targets(joints, weights, (13, 9), sigma=sigma), slow_targets(joints, weights, (13, 9), sigma)
    ):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_joint_that_was_not_labelled_may_lie_nowhere() -> None:
    joints = np.array([[np.nan, np.nan], [8.0, 12.0]])
    heatmaps, weights = gaussian_targets(joints, np.array([0, 1]), (8, 6))
    np.testing.assert_array_equal(weights, [0, 1])
    assert heatmaps[0].max() == 0 and heatmaps[1].argmax() == 3 * 6 + 2 and heatmaps[1].max() == 1


def test_the_loss_by_hand() -> None:
    """Per joint half the mean over batch and cells of the weighted error's square, then the mean over joints."""
    rng = np.random.RandomState(0)
    heatmaps, targets = rng.randn(2, 2, 3, 5, 4).astype("float32")
    weights = rng.choice([0, 1, 1.2, 1.5], (2, 3)).astype("float32")
    per_joint = [
        0.5 * np.mean([(weights[n, k] * (heatmaps[n, k] - targets[n, k])) ** 2 for n in range(2)]) for k in range(3)
    ]
    loss = HeatmapLoss()(*map(paddle.to_tensor, (heatmaps, targets, weights)))
    assert float(loss) == pytest.approx(np.mean(per_joint), rel=1e-5)


# --- decoding ---


def bumps(x: np.ndarray, y: np.ndarray, height: int, width: int) -> paddle.Tensor:
    """(1, K, height, width): a Gaussian of deviation 2 with its peak exactly at x, y (in cells)."""
    rows, columns = np.arange(height)[:, None], np.arange(width)
    squares = (columns - x[:, None, None]) ** 2 + (rows - y[:, None, None]) ** 2
    return paddle.to_tensor(np.exp(-squares / 8)[None].astype("float32"))


@settings(max_examples=60, deadline=None)
@given(
    positions=st.lists(st.tuples(st.floats(0, 11), st.floats(0, 15)), min_size=1, max_size=4),
    stride=st.sampled_from([1, 4]),
)
def test_a_bump_is_found_within_a_quarter_of_a_cell(positions: list[tuple[float, float]], stride: int) -> None:
    x, y = np.array(positions).T
    found, scores = decode(bumps(x, y, 16, 12), stride)
    error = np.abs(found.numpy()[0] / stride - np.stack([x, y], axis=1))
    last = np.array([11, 15])
    nearest = np.stack([x, y], axis=1)
    at_edge = (nearest < 0.501) | (nearest > last - 0.501)  # the cell there has one neighbour on this axis and stays
    assert (error <= np.where(at_edge, 0.501, 0.251)).all()
    assert scores.shape == [1, len(x)] and float(scores.min()) > 0.9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_decoding_equals_the_plain_rule(seed: int) -> None:
    heatmaps = np.random.RandomState(seed).randn(2, 3, 6, 7).astype("float32") - 1.5
    found, scores = (x.numpy() for x in decode(paddle.to_tensor(heatmaps), 1))
    for n in range(2):
        for k in range(3):
            m = heatmaps[n, k]
            y, x = np.unravel_index(m.argmax(), m.shape)
            expected = np.array([x, y], "float32")
            if 0 < x < 6:
                expected[0] += 0.25 * np.sign(m[y, x + 1] - m[y, x - 1])
            if 0 < y < 5:
                expected[1] += 0.25 * np.sign(m[y + 1, x] - m[y - 1, x])
            np.testing.assert_array_equal(found[n, k], expected if m.max() > 0 else [0, 0])
            assert scores[n, k] == m.max()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_decoding_undoes_the_targets_up_to_the_cell(seed: int) -> None:
    joints = np.random.RandomState(seed).uniform([0, 0], [47, 63], (4, 2))
    heatmaps, _ = gaussian_targets(joints, np.ones(4), (17, 13))
    found, scores = decode(paddle.to_tensor(heatmaps[None]))
    assert np.abs(found.numpy()[0] - joints).max() <= 2.001  # half a cell
    np.testing.assert_array_equal(scores.numpy(), 1)


def mirrored(heatmaps: np.ndarray, pairs: tuple, shift: bool) -> np.ndarray:
    """What a network that treats left and right alike answers to the mirrored image."""
    order = np.arange(heatmaps.shape[1])
    for left, right in pairs:
        order[[left, right]] = order[[right, left]]
    if shift:  # its cells start at the left edge of what they see, whichever way the image faces
        heatmaps = np.concatenate([heatmaps[..., 1:], np.zeros_like(heatmaps[..., :1])], axis=3)
    return np.ascontiguousarray(heatmaps[:, order, :, ::-1])


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize(("joints", "pairs"), [(17, COCO), (16, FLIP_PAIRS["mpii"])])
def test_flip_averaging_changes_nothing_for_a_symmetric_network(joints: int, pairs: tuple, shift: bool) -> None:
    heatmaps = np.random.RandomState(0).randn(2, joints, 5, 6).astype("float32")
    other = mirrored(heatmaps, pairs, shift)
    result = flip_average(paddle.to_tensor(heatmaps), paddle.to_tensor(other), pairs, shift=shift).numpy()
    inner = slice(1, None) if shift else slice(None)  # the first column has come from nowhere
    np.testing.assert_allclose(result[..., inner], heatmaps[..., inner], rtol=1e-6)


@pytest.mark.parametrize("name", FLIP_PAIRS)
def test_pairs_change_each_joint_at_most_once(name: str) -> None:
    named = [joint for pair in FLIP_PAIRS[name] for joint in pair]
    assert len(named) == len(set(named)) == {"coco": 16, "mpii": 12}[name]


def test_pairs_of_joints_that_there_are_not() -> None:
    maps = paddle.zeros([1, 5, 4, 4])
    with pytest.raises(UserError, match=r"pair \(5, 6\) names a joint that there is not: there are 0 to 4"):
        flip_average(maps, maps, COCO)


def test_predict_averages_both_views() -> None:
    paddle.seed(2)
    model = create_model("hrnet_w18_small_v1_pose")
    model.head.heatmaps.weight.set_value(paddle.randn(model.head.heatmaps.weight.shape))
    model.eval()
    image = paddle.randn([1, 3, 64, 48])
    alone, _ = model.predict(image)
    both, scores = model.predict(image, COCO)
    with paddle.no_grad():
        first, second = model(image).numpy(), model(image.flip(axis=[3])).numpy()
    order = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    second = second[:, order, :, ::-1]
    second = np.concatenate([second[..., :1], second[..., :-1]], axis=3)
    np.testing.assert_allclose(both.numpy(), decode(paddle.to_tensor((first + second) / 2))[0].numpy(), atol=1e-6)
    assert both.shape == [1, 17, 2] and scores.shape == [1, 17]
    assert np.abs(both.numpy() - alone.numpy()).max() > 0
    assert alone.stop_gradient
