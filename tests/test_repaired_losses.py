"""PaddleSeg's losses compute the same on both Paddle lines, and each of them trains a network.

Values and the sums of absolute gradients were taken from the unchanged PaddleSeg 2.8.0 on Paddle 2.6.2; where that is
wrong, numpy says what is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import registration
from paddle_hrfamily.patching import core_module
from paddle_hrfamily.zoo import create_model

pytestmark = pytest.mark.line
registration.register()
C, SIDE, IGNORE = 4, 16, 255
RNG = np.random.RandomState(0)
LOGIT = RNG.randn(2, C, SIDE, SIDE).astype("float32")
LABEL = np.kron(RNG.randint(0, C, (2, 4, 4)), np.ones((1, 4, 4), "int64"))
LABEL[:, 0] = IGNORE
BINARY = np.where(LABEL == IGNORE, IGNORE, LABEL % 2)
EDGE = RNG.rand(2, 1, SIDE, SIDE).astype("float32")
OTHER = RNG.randn(2, C, SIDE, SIDE).astype("float32")
POINTS = (RNG.randn(2, C, 50).astype("float32"), RNG.rand(2, 50, 2).astype("float32"))
EMBEDDED = {"seg": LOGIT, "embed": RNG.randn(2, 8, SIDE, SIDE).astype("float32")}
MASKS = {"pred_logits": RNG.randn(2, 6, C + 1).astype("float32"), "pred_masks": RNG.randn(2, 6, 8, 8).astype("float32")}
MASK_LABELS = {
    "gt_classes": np.array([[0, 2, IGNORE], [1, 2, 3]]),
    "gt_masks": (RNG.rand(2, 3, SIDE, SIDE) > 0.5).astype("int64"),
}
WEIGHT = [1.0, 2.0, 3.0, 4.0]

# name, options, prediction, label, value, gradient
GOLDEN: list[tuple[str, dict[str, Any], Any, Any, float, float]] = [
    ("BCELoss", {}, LOGIT[:, :1], BINARY, 0.797599, 0.497599),
    ("BCELoss", {}, LOGIT, LABEL, 0.81214, 0.50327),
    ("BCELoss", {"weight": "dynamic"}, LOGIT, LABEL, 0.612389, 0.379877),
    ("BootstrappedCrossEntropyLoss", {"min_K": 50, "loss_th": 0.3}, LOGIT, LABEL, 1.77596, 1.54034),
    ("BootstrappedCrossEntropyLoss", {"min_K": 50, "loss_th": 5.0, "weight": WEIGHT}, LOGIT, LABEL, 8.01699, 5.93755),
    ("CrossEntropyLoss", {}, LOGIT, LABEL, 1.75611, 1.52576),
    ("CrossEntropyLoss", {"weight": WEIGHT}, LOGIT, LABEL, 1.78547, 1.54076),
    ("CrossEntropyLoss", {"weight": WEIGHT, "top_k_percent_pixels": 0.2}, LOGIT, LABEL, 2.69444, 1.84058),
    ("CrossEntropyLoss", {"avg_non_ignore": False}, LOGIT, LABEL, 1.64635, 1.4304),
    ("DetailAggregateLoss", {}, LOGIT[:, :1], LABEL, 1.46049, 0.694477),
    ("DiceLoss", {}, LOGIT, LABEL, 0.766927, 0.286066),
    ("DiceLoss", {"weight": WEIGHT}, LOGIT, LABEL, 1.93975, 0.704507),
    ("DualTaskLoss", {}, LOGIT, LABEL, 0.107978, 0.0677275),
    ("EdgeAttentionLoss", {}, (LOGIT, EDGE), LABEL, 1.67904, 1.49832),
    ("FocalLoss", {}, LOGIT[:, :2], BINARY, 0.167582, 0.184218),
    ("KLLoss", {}, LOGIT, OTHER, 0.152702, 0.204603),
    ("L1Loss", {}, LOGIT, OTHER, 1.12819, 1),
    ("L1Loss", {"reduction": "sum"}, LOGIT, OTHER, 2310.54, 2048),
    ("LovaszHingeLoss", {}, LOGIT[:, :1], BINARY, 1.62436, 0.934884),
    ("LovaszHingeLoss", {}, LOGIT[:, :2], BINARY, 1.90779, 1.01032),
    ("LovaszSoftmaxLoss", {}, LOGIT, LABEL, 0.777409, 0.285205),
    ("LovaszSoftmaxLoss", {"classes": "all"}, LOGIT, LABEL, 0.777409, 0.285205),
    ("MSELoss", {}, LOGIT, OTHER, 2.01741, 2.25638),
    ("MultiClassFocalLoss", {"num_class": C}, LOGIT, LABEL, 1.27055, 1.64366),
    ("OhemCrossEntropyLoss", {"min_kept": 50, "thresh": 0.3}, LOGIT, LABEL, 2.17423, 1.71837),
    ("OhemCrossEntropyLoss", {"min_kept": 5000}, LOGIT, LABEL, 1.75609, 1.52574),
    ("OhemEdgeAttentionLoss", {"min_kept": 20, "thresh": 0.2}, (LOGIT, EDGE), LABEL, 2.60654, 1.8222),
    ("OhemEdgeAttentionLoss", {"min_kept": 2000}, (LOGIT, EDGE), LABEL, 1.67904, 1.49832),
    ("PixelContrastCrossEntropyLoss", {"max_samples": 64, "max_views": 8}, EMBEDDED, LABEL, 70.9686, 156.32),
    ("PointCrossEntropyLoss", {}, POINTS, LABEL, 1.74392, 1.49647),
    ("RMILoss", {"num_classes": C}, LOGIT, LABEL, -3.68061, 5.61576),
    ("RMILoss", {"num_classes": C, "rmi_pool_way": 0}, LOGIT, LABEL, -3.68061, 5.61576),
    ("RMILoss", {"num_classes": C, "rmi_pool_way": 2}, LOGIT, LABEL, -11.1039, 6.68208),
    ("SECrossEntropyLoss", {}, LOGIT[:, :, 0, 0], LABEL, 0.933794, 0.510863),
    ("SemanticConnectivityLoss", {}, LOGIT, LABEL, 0.979625, 0),
    ("MaskFormerLoss", {"num_classes": C}, MASKS, MASK_LABELS, 4.70238, 3.35791),  # without a kernel on Paddle 2.6
]
# What a segmentation network's one output and a label map suffice for. The others: distillation, depth, pairs of
# outputs, points, embeddings, masks; and SemanticConnectivityLoss, which has no gradient: it takes an argmax first.
OF_ONE_OUTPUT = [
    ("BootstrappedCrossEntropyLoss", {"min_K": 50, "loss_th": 0.3}),
    ("CrossEntropyLoss", {"weight": WEIGHT}),
    ("DiceLoss", {}),
    ("DualTaskLoss", {}),
    ("LovaszSoftmaxLoss", {}),
    ("MultiClassFocalLoss", {"num_class": C}),
    ("OhemCrossEntropyLoss", {"min_kept": 50}),
    ("RMILoss", {"num_classes": C}),
    ("RelaxBoundaryLoss", {}),
    ("BCELoss", {"weight": "dynamic"}),
]


def tensors(x: Any, trained: bool) -> Any:
    if isinstance(x, tuple):
        return [tensors(item, trained) for item in x]
    if isinstance(x, dict):
        return {key: tensors(item, trained) for key, item in x.items()}
    return paddle.to_tensor(x, stop_gradient=not trained)


def leaves(x: Any) -> list[paddle.Tensor]:
    if isinstance(x, paddle.Tensor):
        return [x]
    return [leaf for item in (x.values() if isinstance(x, dict) else x) for leaf in leaves(item)]


def evaluate(name: str, options: dict[str, Any], prediction: Any, label: Any) -> tuple[float, float]:
    """The loss's value, and the sum over all inputs of the absolute gradient."""
    paddle.seed(1)  # DualTaskLoss and PixelContrastCrossEntropyLoss draw numbers
    x = tensors(prediction, trained=True)
    value = manager.LOSSES[name](**options)(x, tensors(label, trained=False))
    value.backward()
    gradients = [leaf.grad.numpy() for leaf in leaves(x) if leaf.grad is not None]
    return float(value), float(sum(np.abs(gradient).sum() for gradient in gradients))


@pytest.mark.parametrize(("name", "options", "prediction", "label", "value", "gradient"), GOLDEN)
def test_value_and_gradient(
    name: str, options: dict[str, Any], prediction: Any, label: Any, value: float, gradient: float
) -> None:
    np.testing.assert_allclose(evaluate(name, options, prediction, label), (value, gradient), rtol=1e-4)


def test_every_loss_of_paddleseg_is_looked_at() -> None:
    theirs = {name for name, loss in manager.LOSSES.components_dict.items() if loss.__module__.startswith("paddleseg.")}
    of_others = {"MixedLoss", "DistillCrossEntropyLoss"}  # in test_repairs; and CrossEntropyLoss by another forward
    assert theirs == {name for name, *_ in GOLDEN} | {name for name, _ in OF_ONE_OUTPUT} | of_others


@pytest.mark.parametrize("weight", [0.5, 2.0, "dynamic"])
def test_positive_pixels_weigh_more(weight: float | str) -> None:
    x, kept, y = LOGIT[:, 0].astype("float64"), BINARY != IGNORE, BINARY * (BINARY != IGNORE)
    number = 2 * (y == 0).sum() / y.size if weight == "dynamic" else weight
    probability = 1 / (1 + np.exp(-x))
    each = -(number * y * np.log(probability) + (1 - y) * np.log(1 - probability))
    got, _ = evaluate("BCELoss", {"pos_weight": weight}, LOGIT[:, :1], BINARY)
    np.testing.assert_allclose(got, (each * kept).sum() / kept.sum(), rtol=1e-5)


@pytest.mark.parametrize("border", [1, 2])
def test_a_relaxed_boundary_counts_the_union_of_near_classes(border: int) -> None:
    """Equation 3 of "Improving Semantic Segmentation via Video Propagation and Label Relaxation", on one image."""
    logit, label = LOGIT[:1].astype("float64"), LABEL[:1]
    padded = np.pad(label[0], border, constant_values=IGNORE)
    total, labelled = 0.0, 0
    for row, column in np.ndindex(SIDE, SIDE):
        near = set(padded[row : row + 2 * border + 1, column : column + 2 * border + 1].ravel()) - {IGNORE}
        powers = np.exp(logit[0, :, row, column])
        if near:
            total -= np.log(powers[list(near)].sum() / powers.sum())
            labelled += 1
    got, gradient = evaluate("RelaxBoundaryLoss", {"border": border}, LOGIT[:1], LABEL[:1])
    np.testing.assert_allclose(got, total / (labelled + 1), rtol=1e-5)
    assert gradient > 0


def test_weights_of_relaxed_boundaries_are_refused() -> None:
    with pytest.raises(UserError, match="calculate_weights"):
        manager.LOSSES["RelaxBoundaryLoss"](calculate_weights=True)


@pytest.fixture(scope="module")
def network() -> paddle.nn.Layer:
    paddle.seed(0)
    return create_model("hrnet_w18_small_v1", num_classes=C)


@pytest.mark.parametrize(("name", "options"), OF_ONE_OUTPUT, ids=[name for name, _ in OF_ONE_OUTPUT])
def test_a_loss_trains_a_network(network: paddle.nn.Layer, name: str, options: dict[str, Any]) -> None:
    network.clear_gradients()
    image = paddle.to_tensor(np.random.RandomState(1).randn(2, 3, 32, 32).astype("float32"))
    label = paddle.to_tensor(np.kron(LABEL, np.ones((1, 2, 2), "int64")))
    types = {"types": [manager.LOSSES[name](**options)], "coef": [1]}
    loss = core_module("train").loss_computation(network(image), label, None, types)
    sum(loss).backward()
    trained = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in trained)
    assert np.abs(network.head.classify.weight.grad.numpy()).sum() > 0


@pytest.mark.parametrize(("name", "options"), OF_ONE_OUTPUT, ids=[name for name, _ in OF_ONE_OUTPUT])
def test_a_batch_without_labels_is_a_loss_too(name: str, options: dict[str, Any]) -> None:
    value, gradient = evaluate(name, options, LOGIT, np.full_like(LABEL, IGNORE))
    assert np.isfinite((value, gradient)).all()
