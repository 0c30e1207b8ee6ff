"""The networks against answers of independent implementations with the same weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.weights.official import OFFICIAL
from paddle_hrfamily.zoo import create_model
from tests.networks import assert_gradient_norms, assert_running_means
from tests.parity import Parity

pytestmark = pytest.mark.line

# Every segmentation fixture there is of these two families: fixture -> (model, padding of the weights).
FIXTURES = {
    "hrnet_w18_small_v1_seg": ("hrnet_w18_small_v1", "symmetric"),
    "hrnet_w18_small_v2_seg": ("hrnet_w18_small_v2", "symmetric"),
    "paddleseg_hrnet_w18_fcn": ("hrnet_w18", "same"),
    "paddleseg_uhrnet_w18_small_fcn": ("uhrnet_w18_small", "same"),
}
BOUND = 1e-3


def native_logits(model: paddle.nn.Layer, image: np.ndarray) -> np.ndarray:
    """Logits at the head's own stride, before they are resized to the image."""
    model.eval()
    with paddle.no_grad():
        return model.head(model.backbone(paddle.to_tensor(image)))[0].numpy()


@pytest.mark.parametrize("name", FIXTURES)
def test_logits_equal_the_official_code(parity: Parity, name: str) -> None:
    architecture, padding = FIXTURES[name]
    model = create_model(architecture, num_classes=19, padding=padding)
    load_weights(model, parity.state_dict(name))
    for size in parity.meta(name)["inputs"]:
        expected = parity.answer(name, f"logits_{size}.npy")
        result = native_logits(model, parity.input_image(name, size))
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() <= BOUND, size


@pytest.mark.parametrize("name", ["hrnet_w18_small_v1_seg", "hrnet_w18_small_v2_seg"])
def test_stage_outputs_equal_the_official_code(parity: Parity, name: str) -> None:
    model = create_model(FIXTURES[name][0], num_classes=19)
    load_weights(model, parity.state_dict(name))
    model.eval()
    expected = parity.answer(name, "intermediates_128x256.npz")
    with paddle.no_grad():
        feats = model.backbone(paddle.to_tensor(parity.input_image(name, "128x256")))
    for i, feat in enumerate(feats):
        assert np.abs(feat.numpy() - expected[f"stage4_{i}"]).max() <= BOUND, i


def test_the_classification_networks_stem(parity: Parity) -> None:
    """ImageNet networks resize by nearest in their exchanges, so they compute the same up to stage 1 alone."""
    name = "hrnet_w18_cls_timm"
    model = create_model("hrnet_w18")
    report = load_weights(model, parity.state_dict(name), part="backbone")
    assert report.layout == "official HRNet" and not report.missing
    model.eval()
    expected = parity.answer(name, "intermediates_128x256.npz")
    with paddle.no_grad():
        result = model.backbone.stem(paddle.to_tensor(parity.input_image(name, "128x256"))).numpy()
    assert np.abs(result - expected["layer1"]).max() <= BOUND


@pytest.fixture(scope="module")
def step(parity: Parity) -> SimpleNamespace:
    """One training step of HRNetV2-W18-small-v1 in float64: the official code's, and this network's."""
    data = parity.answer("hrnet_w18_small_v1_seg", "train_step/data.npz")
    paddle.set_default_dtype("float64")
    try:
        model = create_model("hrnet_w18_small_v1", num_classes=19)
    finally:
        paddle.set_default_dtype("float32")
    load_weights(model, parity.state_dict("hrnet_w18_small_v1_seg"))
    model.train()
    logits = model(paddle.to_tensor(data["input"].astype("float64")))[0]
    label = paddle.to_tensor(data["label"].astype("int64"))
    loss = F.cross_entropy(logits.transpose([0, 2, 3, 1]), label, ignore_index=255)
    loss.backward()
    expected = parity.meta("hrnet_w18_small_v1_seg/train_step")
    return SimpleNamespace(model=model, loss=float(loss), expected=expected, data=data)


def test_loss_of_one_training_step(step: SimpleNamespace) -> None:
    assert step.loss == pytest.approx(step.expected["total"], rel=1e-3)


def test_gradient_norms_of_one_training_step(step: SimpleNamespace) -> None:
    assert_gradient_norms(step.model, OFFICIAL, step.expected["grad_l2"])


def test_batch_norm_means_of_one_training_step(step: SimpleNamespace) -> None:
    assert_running_means(step.model, OFFICIAL, step.data)
