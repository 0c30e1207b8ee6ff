"""The pyramid of the truth, relabelling, fusion and loss: equal to the slow numpy version, to the last cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F

from paddle_hrfamily.heads.specialize_fuse import fuse
from paddle_hrfamily.losses.pyramid import (
    MIX,
    RELABELLINGS,
    UNITY,
    UNKNOWN,
    Pyramid,
    pyramid_losses,
    relabel,
    sample,
    truth_pyramid,
)
from tests import pyramid_reference as reference

IGNORE = 255
STRIDES = [(4, 8, 16, 32), (4, 32), (2, 4), (8, 16), (4,)]
SEEDS = st.integers(0, 2**32 - 1)
many = settings(max_examples=40, deadline=None)


@st.composite
def labels(draw: st.DrawFn, classes: int = 3) -> np.ndarray:
    """(N, H, W) of any size, in rectangles large and small so that every kind of cell occurs, partly ignored."""
    rng = np.random.default_rng(draw(SEEDS))
    n, height, width = draw(st.integers(1, 2)), draw(st.integers(1, 70)), draw(st.integers(1, 70))
    label = np.full((n, height, width), draw(st.sampled_from([0, 1, IGNORE])))
    for _ in range(draw(st.integers(0, 8))):
        y, x = rng.integers(0, height), rng.integers(0, width)
        size = rng.integers(1, 40, 2)
        value = draw(st.sampled_from([*range(classes), IGNORE]))
        label[rng.integers(0, n), y : y + size[0], x : x + size[1]] = value
    label[rng.random(label.shape) < draw(st.sampled_from([0, 0.02, 0.5]))] = IGNORE
    return label


def guesses(truth: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Probabilities, among them the threshold itself and its float32 neighbour below."""
    rng = np.random.default_rng(seed)
    threshold = np.float32(0.9)
    special = np.array([0, threshold, np.nextafter(threshold, np.float32(0)), 1], "float32")
    return [
        np.where(rng.random(level.shape) < 0.5, rng.choice(special, level.shape), rng.random(level.shape, "float32"))
        for level in truth
    ]


def tensors(levels: list[np.ndarray]) -> list[paddle.Tensor]:
    """(N, h, w) -> (N, 1, h, w)."""
    return [paddle.to_tensor(level[:, None]) for level in levels]


def assert_equal(fast: Pyramid, slow: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    for levels, expected in zip(fast, slow):
        assert len(levels) == len(expected)
        for level, cells in zip(levels, expected):
            np.testing.assert_array_equal(level.numpy()[:, 0], cells)


@many
@given(label=labels(), strides=st.sampled_from(STRIDES))
def test_truth(label: np.ndarray, strides: tuple[int, ...]) -> None:
    assert_equal(truth_pyramid(paddle.to_tensor(label), strides, IGNORE), reference.truth(label, strides, IGNORE))


@pytest.mark.parametrize("policy", RELABELLINGS)
@many
@given(label=labels(), strides=st.sampled_from(STRIDES), seed=SEEDS)
def test_relabelling(policy: Any, label: np.ndarray, strides: tuple[int, ...], seed: int) -> None:
    truth = reference.truth(label, strides, IGNORE)
    probabilities = guesses(truth[1], seed)
    fast = relabel(Pyramid(*map(tensors, truth)), tensors(probabilities), strides, policy, 0.9, IGNORE)
    assert_equal(fast, reference.relabel(*truth, probabilities, policy, 0.9, IGNORE))


@many
@given(label=labels(), strides=st.sampled_from(STRIDES), seed=SEEDS, threshold=st.sampled_from([0.9, 0.5, 1.1]))
def test_fusion(label: np.ndarray, strides: tuple[int, ...], seed: int, threshold: float) -> None:
    classes, kinds = reference.truth(label, strides, IGNORE)
    rng = np.random.default_rng(seed)
    logits = [rng.standard_normal((len(level), 4, *level.shape[1:]), "float32") for level in classes]
    probabilities = guesses(kinds, seed)
    fused = fuse([paddle.to_tensor(x) for x in logits], tensors(probabilities), strides, threshold).numpy()
    np.testing.assert_array_equal(fused, reference.fuse(logits, probabilities, threshold))


@pytest.mark.parametrize("policy", RELABELLINGS)
@settings(max_examples=15, deadline=None)
@given(label=labels(), strides=st.sampled_from(STRIDES), seed=SEEDS)
def test_loss(policy: Any, label: np.ndarray, strides: tuple[int, ...], seed: int) -> None:
    """Equation 1. The labels are whole cells here: what happens to others is the sampling's part."""
    whole = max(strides)
    label = label.repeat(whole, 1).repeat(whole, 2)[:, : 2 * whole, : 2 * whole]
    classes, kinds = reference.truth(label, strides, IGNORE)
    rng = np.random.default_rng(seed)
    logits = [rng.standard_normal((len(level), 3, *level.shape[1:]), "float32") for level in classes]
    unity = [rng.standard_normal(level.shape, "float32") * 5 for level in kinds]
    probabilities = [F.sigmoid(paddle.to_tensor(x)).numpy() for x in unity]
    expected = reference.losses(
        logits, unity, *reference.relabel(classes, kinds, probabilities, policy, 0.9, IGNORE), IGNORE
    )
    losses = pyramid_losses(
        Pyramid([paddle.to_tensor(x) for x in logits], tensors(unity)),
        paddle.to_tensor(label),
        strides,
        cross_entropy,
        relabelling=policy,
        threshold=0.9,
        ignore_index=IGNORE,
    )
    for fast, slow in zip(losses, expected):
        np.testing.assert_allclose([float(x) for x in fast], slow, rtol=1e-4, atol=1e-6)


def cross_entropy(logits: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
    losses = F.cross_entropy(logits, label, axis=1, ignore_index=IGNORE, reduction="none")
    return losses.sum() / (label != IGNORE).astype("float32").sum().clip(min=1)


@many
@given(label=labels(), strides=st.sampled_from(STRIDES))
def test_the_truth_fused_is_the_label_at_the_centres_of_the_finest_cells(label: np.ndarray, strides) -> None:
    truth = truth_pyramid(paddle.to_tensor(label), strides, IGNORE)
    one_hot = [F.one_hot(level.squeeze(1), IGNORE + 1).transpose([0, 3, 1, 2]) for level in truth.semantic]
    certain = [(level == UNITY).astype("float32") for level in truth.unity]
    fused = fuse(one_hot, certain, strides, 0.9).argmax(axis=1).numpy()
    half = strides[0] // 2
    centres = label[:, half :: strides[0], half :: strides[0]]
    fused = fused[:, : centres.shape[1], : centres.shape[2]]
    known = centres != IGNORE
    np.testing.assert_array_equal(fused[known], centres[known])


@many
@given(label=labels(), strides=st.sampled_from(STRIDES[:2]))
def test_a_unity_cell_has_no_mixed_child(label: np.ndarray, strides: tuple[int, ...]) -> None:
    """Section 3.1; a child may be ignored."""
    truth = truth_pyramid(paddle.to_tensor(label), strides, IGNORE)
    for coarse, fine in zip(truth.unity, truth.unity[1:]):
        parents = coarse.numpy().repeat(2, 2).repeat(2, 3)
        assert (fine.numpy()[parents == UNITY] != MIX).all()
        assert (fine.numpy()[parents == UNKNOWN] == UNKNOWN).all()


def test_by_hand() -> None:
    """One cell of stride 4 over four of stride 2: a pair of classes, and ignored pixels that decide nothing."""
    label = np.array([[[0, 0, 1, 1], [0, 255, 1, 2], [255, 255, 2, 2], [255, 255, 2, 2]]])
    truth = truth_pyramid(paddle.to_tensor(label), (2, 4), IGNORE)
    assert truth.semantic[0].numpy().tolist() == [[[[255]]]] and truth.unity[0].numpy().tolist() == [[[[MIX]]]]
    # Upper left: 0 and an ignored pixel. Upper right: mixed, its centre is the lower right pixel. Lower left: nothing.
    assert truth.semantic[1].numpy().tolist() == [[[[0, 2], [255, 2]]]]
    uniform = truth_pyramid(paddle.full([1, 4, 4], 3, "int64"), (2, 4), IGNORE)
    for probability, finer in ((0.95, 255), (0.5, 3)):
        guess = [paddle.full([1, 1, 1, 1], probability)]
        relabelled = relabel(uniform, guess, (2, 4), "coarser_true_positives", 0.9, IGNORE)
        assert [np.unique(level).tolist() for level in relabelled.semantic] == [[3], [finer]]
        assert (relabel(uniform, guess, (2, 4), "simple_fix", 0.9, IGNORE).semantic[1] == 255).all()
        assert (relabel(uniform, guess, (2, 4), "naive", 0.9, IGNORE).semantic[1] == 3).all()


@pytest.mark.parametrize(("old", "new"), [(8, 8), (10, 8), (7, 8), (3, 32)])
def test_a_resized_label_is_sampled_at_pixel_centres(old: int, new: int) -> None:
    label = paddle.arange(old).reshape([1, old, 1]).expand([1, old, old])
    rows = sample(label, new, new).numpy()[0, :, 0]
    assert rows.tolist() == [min(int((i + 0.5) * old / new), old - 1) for i in range(new)]


def test_all_ignored_is_a_loss_of_zero_with_finite_gradients() -> None:
    logits = [paddle.rand([1, 3, n, n]) for n in (1, 2)]
    unity = [paddle.rand([1, 1, 1, 1])]
    for tensor in (*logits, *unity):
        tensor.stop_gradient = False
    losses = pyramid_losses(
        Pyramid(logits, unity),
        paddle.full([1, 8, 8], IGNORE, "int64"),
        (4, 8),
        cross_entropy,
        relabelling="coarser_true_positives",
        threshold=0.9,
        ignore_index=IGNORE,
    )
    total = sum([*losses.semantic, *losses.unity])
    total.backward()
    assert float(total) == 0
    assert all((tensor.grad == 0).all() for tensor in (*logits, *unity))
