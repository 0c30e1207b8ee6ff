"""The training losses, held against the authors' formulae written out in numpy, with float64 and without shortcuts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddleseg.models.losses import DiceLoss

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.losses import BatchDiceLoss, WeightedOhemCrossEntropyLoss, WeightedPixelCrossEntropyLoss

pytestmark = pytest.mark.line
IGNORED = 255
# HRNet's class weights of Cityscapes, from the first class on.
WEIGHTS = [0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754]


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def samples(seed: int, classes: int, share_ignored: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, classes, 9, 11)) * 2
    label = random.integers(0, classes, (2, 9, 11))
    label[random.random(label.shape) < share_ignored] = IGNORED
    return logits, label


def ohem(
    logits: np.ndarray, label: np.ndarray, thresh: float, min_kept: int, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """Value and gradient, pixel after pixel in the order of their probability."""
    probability = softmax(logits)
    where = [tuple(place) for place in np.argwhere(label != IGNORED)]
    where.sort(key=lambda place: probability[place[0], label[place], place[1], place[2]])
    true = [probability[n, label[n, y, x], y, x] for n, y, x in where]
    limit = max(true[min(min_kept, len(true) - 1)], thresh)
    kept = [place for place, p in zip(where, true) if p < limit]
    value, gradient = 0.0, np.zeros_like(logits)
    for n, y, x in kept:
        c = label[n, y, x]
        value -= weight[c] * np.log(probability[n, c, y, x]) / len(kept)
        gradient[n, :, y, x] = weight[c] * (probability[n, :, y, x] - np.eye(logits.shape[1])[c]) / len(kept)
    return value, gradient


def value_and_gradient(loss: Callable, logits: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
    tensor = paddle.to_tensor(logits.astype("float32"), stop_gradient=False)
    value = loss(tensor, paddle.to_tensor(label))
    value.backward()
    return float(value), tensor.grad.numpy()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    share_ignored=st.sampled_from([0.0, 0.3, 0.95]),
    thresh=st.sampled_from([0.05, 0.5, 0.9]),
    min_kept=st.sampled_from([1, 20, 150, 100000]),  # 198 pixels, some of them without a label
    weighted=st.booleans(),
)
def test_ohem_is_the_reference(seed: int, share_ignored: float, thresh: float, min_kept: int, weighted: bool) -> None:
    logits, label = samples(seed, len(WEIGHTS), share_ignored)
    loss = WeightedOhemCrossEntropyLoss(thresh, min_kept, WEIGHTS if weighted else None)
    expected = ohem(logits, label, thresh, min_kept, np.array(WEIGHTS) if weighted else np.ones(len(WEIGHTS)))
    value, gradient = value_and_gradient(loss, logits, label)
    assert value == pytest.approx(expected[0], rel=1e-5)
    assert np.abs(gradient - expected[1]).max() < 1e-6


@pytest.mark.parametrize("weight", [None, WEIGHTS])
def test_the_auxiliary_of_ohem_is_averaged_over_all_pixels(weight: list[float] | None) -> None:
    logits, label = samples(0, len(WEIGHTS), 0.3)
    probability, factor = softmax(logits), np.array(weight or [1] * len(WEIGHTS))
    expected, gradient = 0.0, np.zeros_like(logits)
    for n, y, x in np.argwhere(label != IGNORED):
        c = label[n, y, x]
        expected -= factor[c] * np.log(probability[n, c, y, x]) / label.size
        gradient[n, :, y, x] = factor[c] * (probability[n, :, y, x] - np.eye(len(WEIGHTS))[c]) / label.size
    found = value_and_gradient(WeightedPixelCrossEntropyLoss(weight), logits, label)
    assert found[0] == pytest.approx(expected, rel=1e-5) and np.abs(found[1] - gradient).max() < 1e-6


@pytest.mark.parametrize("loss", [WeightedOhemCrossEntropyLoss(), WeightedPixelCrossEntropyLoss(), BatchDiceLoss()])
def test_a_batch_without_labels_gives_a_number(loss: Callable) -> None:
    logits, label = samples(0, 3, 1.0)
    value, gradient = value_and_gradient(loss, logits, label)
    assert np.isfinite(value) and not gradient.any()


@pytest.mark.parametrize("kind", [WeightedOhemCrossEntropyLoss, WeightedPixelCrossEntropyLoss])
def test_weights_are_looked_at(kind: type) -> None:
    with pytest.raises(UserError, match=f"{kind.__name__}: weight has 2 numbers, and there are 3 classes"):
        kind(weight=[1.0, 2.0])(paddle.zeros([1, 3, 4, 4]), paddle.zeros([1, 4, 4], "int64"))
    with pytest.raises(UserError, match=f"{kind.__name__}: weight is 'auto'; give a number of 0 or more"):
        kind(weight="auto")


def dice(logits: np.ndarray, label: np.ndarray, smooth: float = 1e-5) -> float:
    probability, total = softmax(logits), 0.0
    for c in range(logits.shape[1]):
        p, t = probability[:, c][label != IGNORED], (label == c)[label != IGNORED].astype(float)
        total += 1 - (2 * (p * t).sum() + smooth) / ((p * p).sum() + (t * t).sum() + smooth)
    return total / logits.shape[1]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), share_ignored=st.sampled_from([0.0, 0.3]))
def test_dice_is_transunets(seed: int, share_ignored: float) -> None:
    logits, label = samples(seed, 4, share_ignored)
    value, gradient = value_and_gradient(BatchDiceLoss(), logits, label)
    assert value == pytest.approx(dice(logits, label), rel=1e-5)
    step = np.random.default_rng(seed).normal(size=logits.shape)
    numeric = (dice(logits + 1e-5 * step, label) - dice(logits - 1e-5 * step, label)) / 2e-5
    assert (gradient * step).sum() == pytest.approx(numeric, rel=1e-3, abs=1e-6)


def test_an_organ_counts_once_a_batch_and_not_once_an_image() -> None:
    """Eight slices, each with one of eight organs, predicted with 0.98: nearly perfect, and so it costs little."""
    label = np.zeros((8, 32, 32), "int64")
    for organ in range(8):
        label[organ, 4:20, 4:24] = organ + 1
    logits = np.log(np.where(np.eye(9)[label].transpose(0, 3, 1, 2), 0.98, 0.02 / 8)).astype("float32")
    ours, theirs = (
        float(loss(paddle.to_tensor(logits), paddle.to_tensor(label))) for loss in (BatchDiceLoss(), DiceLoss())
    )
    assert ours == pytest.approx(dice(logits, label), abs=1e-4)
    assert ours < 0.04 < 0.4 < theirs
