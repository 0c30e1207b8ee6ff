"""PaddleSeg's losses and areas, repaired, against their definitions written out in numpy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from paddleseg.cvlibs import manager
from paddleseg.models import losses
from paddleseg.utils import metrics

from paddle_hrfamily.host import compat
from paddle_hrfamily.host.compat import training
from paddle_hrfamily.host.overlay import core_module, wrap

C, IGNORE = 5, 255
compat.apply()


def batch(ignored: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    label = rng.randint(0, C, (2, 8, 8))
    if ignored:
        label[:, 0] = IGNORE
    return rng.randn(2, C, 8, 8).astype("float32"), label.astype("int64")


def pixel_losses(logit: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross entropy of every labelled pixel, and its label, flat."""
    rows = logit.transpose(0, 2, 3, 1).reshape(-1, C).astype("float64")
    flat = label.reshape(-1)
    rows, flat = rows[flat != IGNORE], flat[flat != IGNORE]
    rows = rows - rows.max(1, keepdims=True)
    return np.log(np.exp(rows).sum(1)) - rows[np.arange(len(flat)), flat], flat


def value(loss: paddle.nn.Layer, logit: np.ndarray, label: np.ndarray) -> float:
    """The loss, after checking that every logit gets a finite gradient."""
    x = paddle.to_tensor(logit, stop_gradient=False)
    result = loss(x, paddle.to_tensor(label))
    result = sum(result) if isinstance(result, list) else result
    result.backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert (x.grad.numpy() != 0).any()
    return float(result)


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_cross_entropy_is_the_weighted_mean_over_labelled_pixels(weight, ignored):
    logit, label = batch(ignored)
    each, classes = pixel_losses(logit, label)
    weights = np.ones(len(each)) if weight is None else np.array(weight)[classes]
    got = value(losses.CrossEntropyLoss(weight=weight), logit, label)
    np.testing.assert_allclose(got, (each * weights).sum() / weights.sum(), rtol=1e-5)


def test_cross_entropy_of_the_hardest_pixels():
    logit, label = batch()
    each, _ = pixel_losses(logit, label)
    hardest = np.sort(each)[::-1][: int(0.2 * label.size)]
    got = value(losses.CrossEntropyLoss(top_k_percent_pixels=0.2), logit, label)
    np.testing.assert_allclose(got, hardest.mean(), rtol=1e-5)


def test_cross_entropy_does_not_touch_labels():
    logit, label = batch()
    tensor = paddle.to_tensor(label)
    losses.CrossEntropyLoss()(paddle.to_tensor(logit), tensor)
    assert tensor.dtype == paddle.int64
    np.testing.assert_array_equal(tensor.numpy(), label)


@pytest.mark.parametrize("thresh", [0.1, 0.7])
@pytest.mark.parametrize("min_kept", [0, 1, 10, 60, 111, 112, 1000])
def test_ohem_keeps_pixels_below_the_threshold_and_at_least_min_kept(min_kept, thresh):
    logit, label = batch()
    each, _ = pixel_losses(logit, label)
    prob = np.exp(-each)
    kept = np.ones(len(each), bool)
    if 0 < min_kept < len(each):
        kept = prob < max(thresh, np.sort(prob)[min_kept - 1])
    expected = (each * kept).sum() / label.size / (kept.sum() / label.size + 1e-5)
    got = value(losses.OhemCrossEntropyLoss(thresh=thresh, min_kept=min_kept), logit, label)
    np.testing.assert_allclose(got, expected, rtol=2e-5)


def test_ohem_takes_labels_with_and_without_a_channel_axis():
    logit, label = batch()
    loss = losses.OhemCrossEntropyLoss(min_kept=10)
    assert value(loss, logit, label) == value(loss, logit, label[:, None])


def test_ohem_without_any_labelled_pixel_is_zero():
    logit, label = batch()
    loss = losses.OhemCrossEntropyLoss(min_kept=10)
    assert float(loss(paddle.to_tensor(logit), paddle.to_tensor(np.full_like(label, IGNORE)))) == 0


@pytest.mark.parametrize("name", ["LovaszSoftmaxLoss", "DiceLoss"])
def test_a_mixture_is_the_sum_of_its_parts_wherever_they_stand(name):
    logit, label = batch()
    parts = [losses.CrossEntropyLoss(), getattr(losses, name)(ignore_index=IGNORE)]
    alone = [value(part, logit, label) for part in parts]
    for order in (parts, parts[::-1]):
        coef = [0.7 if part is parts[0] else 0.3 for part in order]
        mixed = value(losses.MixedLoss(losses=order, coef=coef), logit, label)
        np.testing.assert_allclose(mixed, 0.7 * alone[0] + 0.3 * alone[1], rtol=1e-5)


def test_dice_leaves_ignored_labels_for_the_next_loss():
    logit, label = batch()
    tensor = paddle.to_tensor(label)
    losses.DiceLoss()(paddle.to_tensor(logit), tensor)
    np.testing.assert_array_equal(tensor.numpy(), label)


def test_the_loop_gets_losses_that_it_can_index():
    logit, label = batch()
    loss_list = core_module("train").loss_computation(
        logits_list=[paddle.to_tensor(logit)] * 2,
        labels=paddle.to_tensor(label),
        edges=None,
        losses={"types": [losses.CrossEntropyLoss()] * 2, "coef": [1, 0.4]},
    )
    assert [list(loss.shape) for loss in loss_list] == [[1], [1]]
    np.testing.assert_allclose(float(loss_list[1]), 0.4 * float(loss_list[0]), rtol=1e-6)


def naive_areas(pred: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int) -> list[list[int]]:
    """PaddleSeg's loop over the classes."""
    labelled = label != ignore_index
    return [
        [int(((pred == i) & labelled & (label == i)).sum()) for i in range(num_classes)],
        [int(((pred == i) & labelled).sum()) for i in range(num_classes)],
        [int((label == i).sum()) for i in range(num_classes)],
    ]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), num_classes=st.integers(1, 6), ignore_index=st.sampled_from([255, 0, 2, -1]))
def test_areas_equal_a_loop_over_the_classes(data, num_classes, ignore_index):
    shape = data.draw(arrays.array_shapes(min_dims=3, max_dims=3, max_side=4))
    pred = data.draw(arrays.arrays("int32", shape, elements=st.integers(-1, num_classes + 1)))
    label = data.draw(arrays.arrays("int64", shape, elements=st.sampled_from([-1, *range(num_classes + 2), 200, 255])))
    got = metrics.calculate_area(
        paddle.to_tensor(pred[:, None]), paddle.to_tensor(label), num_classes, ignore_index=ignore_index
    )
    assert [area.tolist() for area in got] == naive_areas(pred, label, num_classes, ignore_index)
    assert all(area.dtype == paddle.int64 for area in got)


def test_areas_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="equal"):
        metrics.calculate_area(paddle.zeros([1, 2, 2], "int32"), paddle.zeros([1, 2, 3], "int64"), 2)


def test_repeating_it_changes_nothing():
    before = {name: getattr(losses, name).forward for name in ("OhemCrossEntropyLoss", "DiceLoss")}
    area, train = metrics.calculate_area, core_module("train").train
    compat.apply()
    assert {name: getattr(losses, name).forward for name in before} == before
    assert metrics.calculate_area is area
    assert core_module("train").train is train
    assert manager.LOSSES["DiceLoss"] is losses.DiceLoss


def test_a_model_with_its_own_losses_is_as_it_was_after_training():
    class Own(paddle.nn.Layer):
        def loss_computation(self, logits_list, losses, data):
            return [paddle.to_tensor(1.5)]

    class Module:
        pass

    seen = {}

    def train(model):
        seen["losses"] = model.loss_computation([], {}, {})
        raise RuntimeError("stop")

    Module.train = staticmethod(train)
    wrap(Module, "train", training._own_losses_with_axis)
    model = Own()
    with pytest.raises(RuntimeError, match="stop"):
        Module.train(model)
    assert list(seen["losses"][0].shape) == [1]
    assert "loss_computation" not in vars(model)
