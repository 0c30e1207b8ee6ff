"""What is changed in PaddleSeg is in the table; losses, areas and progress bars are then what they should be."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from paddleseg.cvlibs import manager
from paddleseg.models import losses
from paddleseg.utils import metrics
from paddleseg.utils.progbar import Progbar

import paddle_hrfamily
from hrfamily_deploy import progress
from paddle_hrfamily.integration import repairs
from paddle_hrfamily.integration.repairs import TABLE, training
from paddle_hrfamily.patching import core_module, wrap
from tests.fakes import ROOT, run

pytestmark = pytest.mark.line

C, IGNORE = 5, 255
repairs.apply()


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
    repairs.apply()
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


# The table


PACKAGE = str(Path(paddle_hrfamily.__file__).parent)  # of the checkout, or installed from it


def is_ours(function: object) -> bool:
    """Whether a function of PaddleSeg's is one of this package, or has one around it."""
    while isinstance(function, FunctionType):
        if function.__code__.co_filename.startswith(PACKAGE):
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def functions_of_paddleseg() -> Iterator[tuple[str, object]]:
    """Every function of its modules, and of the classes defined there, by its dotted name."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("paddleseg"):
            continue
        for key, value in list(vars(module).items()):
            yield f"{name}.{key}", value
            if inspect.isclass(value) and value.__module__ == name:
                yield from ((f"{name}.{key}.{method}", function) for method, function in vars(value).items())


def resolved(name: str) -> object:
    """The object of a dotted name: of modules first, then of attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def test_whatever_is_changed_in_paddleseg_is_in_the_table():
    listed = {id(resolved(name)) for repair in TABLE for name in repair.patched}
    changed = {name: value for name, value in functions_of_paddleseg() if is_ours(value)}
    assert len({id(value) for value in changed.values()}) >= 12
    assert [name for name, value in changed.items() if id(value) not in listed] == []


@pytest.mark.parametrize("repair", TABLE, ids=lambda repair: repair.source.partition(":")[2])
def test_the_table_is_true(repair):
    module, _, function = repair.source.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    line = {"2.6": "2.", "3.x": "3.", "3.3": "3."}.get(repair.paddle, "")
    for name in repair.patched:
        found = resolved(name)
        if not repair.while_ and paddle.__version__.startswith(line):
            assert is_ours(found), name
    assert repair.why and repair.until


def test_the_table_can_be_read_without_paddle():
    code = "import sys; from paddle_hrfamily.integration import repairs; print({'paddle', 'numpy'} & set(sys.modules))"
    assert run("-c", code, PYTHONPATH=f"{ROOT}:{ROOT / 'deploy'}").strip() == "set()"


def test_a_loss_leaves_the_operators_of_tensors_alone(monkeypatch):
    names = ("__add__", "__sub__", "__mul__", "__truediv__")
    before, seen = {name: getattr(paddle.Tensor, name) for name in names}, []
    cross_entropy = paddle.nn.functional.cross_entropy

    def recording(*args, **kwargs):
        seen.append({name: getattr(paddle.Tensor, name) for name in names})
        return cross_entropy(*args, **kwargs)

    monkeypatch.setattr(paddle.nn.functional, "cross_entropy", recording)
    logit, label = batch()
    losses.CrossEntropyLoss()(paddle.to_tensor(logit), paddle.to_tensor(label))
    assert seen == [before]


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_cross_entropy_at_points_is_the_weighted_mean_over_labelled_points(weight):
    rng = np.random.RandomState(1)
    logit, label = rng.randn(2, C, 30).astype("float32"), batch()[1]
    points = rng.rand(2, 30, 2).astype("float32")
    columns, rows = (np.floor(points * 8).astype(int)[..., axis] for axis in (0, 1))
    sampled = label[np.arange(2)[:, None], rows, columns]
    each, classes = pixel_losses(logit[..., None], sampled[..., None])
    weights = np.ones(len(each)) if weight is None else np.array(weight)[classes]
    loss = losses.PointCrossEntropyLoss(weight=weight)
    got = loss([paddle.to_tensor(logit), paddle.to_tensor(points)], paddle.to_tensor(label))
    np.testing.assert_allclose(float(got), (each * weights).sum() / weights.sum(), rtol=1e-5)


def test_hard_pixels_on_edges_are_those_of_a_label_that_is_ignored_elsewhere():
    logit, label = batch()
    edge = np.random.RandomState(2).rand(2, 1, 8, 8).astype("float32")
    off = np.where(edge[:, 0] > 0.8, label, IGNORE)
    of_edges = losses.OhemEdgeAttentionLoss(thresh=0.2, min_kept=5)
    of_all = losses.OhemCrossEntropyLoss(thresh=0.2, min_kept=5)
    found = of_edges([paddle.to_tensor(logit), paddle.to_tensor(edge)], paddle.to_tensor(label))
    expected = of_all(paddle.to_tensor(logit), paddle.to_tensor(off))
    np.testing.assert_allclose(float(found), float(expected), rtol=2e-4)  # their EPS differ
    with pytest.raises(ValueError, match="shape of edge_logit"):
        losses.OhemEdgeAttentionLoss()(
            [paddle.to_tensor(logit), paddle.to_tensor(edge[..., :4])], paddle.to_tensor(label)
        )


@pytest.mark.parametrize("module", ["checkpointing.checkpoints", "inference.prediction", "evaluation.depth"])
def test_a_module_that_imports_paddleseg_may_come_first(module):
    """It is in the middle of being imported when the hook's registration asks for it."""
    code = (
        f"from paddle_hrfamily.integration import hook; hook.install(); import paddle_hrfamily.{module}\n"
        "from paddleseg import core; print('by', core.evaluate.wrapped_by[-1])"
    )
    said = run("-W", "always", "-c", code, PYTHONPATH=f"{ROOT}:{ROOT / 'deploy'}")
    assert "by paddle_hrfamily.evaluation.protocols._reported" in said
    assert "not plugged" not in said


# Progress bars


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_gets_a_few_lines_of_paddlesegs_bar(monkeypatch, capsys, terminal):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    bar = Progbar(target=500, interval=0)
    for step in range(500):
        bar.update(step + 1, [("batch_cost", 0.5)])
    said = capsys.readouterr().err
    if terminal:
        assert "\r" in said and "evaluating" in said and "\n" not in said.rstrip()
    else:
        assert 1 <= len(said.splitlines()) <= 11 and "500/500" in said.splitlines()[-1]
        assert not {"\b", "\r"} & set(said)
