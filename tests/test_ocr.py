"""OCR: the official answers, PaddleSeg's weights, and what the three steps are."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_hrfamily.heads.ocr import OCRHead, gather
from paddle_hrfamily.multires import representation
from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

pytestmark = pytest.mark.line

FIXTURE = "hrnet_w18_small_v2_ocr_alignF"
BOUND = 1e-3


@pytest.fixture(scope="module")
def official(parity: Parity) -> paddle.nn.Layer:
    model = create_model("hrnet_w18_small_v2_ocr")
    report = load_weights(model, parity.state_dict(FIXTURE))
    assert report.layout == "official HRNet" and not report.unexpected and not report.folded
    model.eval()
    return model


@pytest.mark.parametrize("size", ["128x256", "135x241"])
def test_both_outputs_equal_the_official_code(parity: Parity, official: paddle.nn.Layer, size: str) -> None:
    with paddle.no_grad():
        feats = official.backbone(paddle.to_tensor(parity.input_image(FIXTURE, size)))
        results = {
            "logits": official.head(feats)[0],
            "aux_logits": official.head.regions(representation(feats, False, False)),
        }
    for name, result in results.items():
        expected = parity.answer(FIXTURE, f"{name}_{size}.npy")
        assert np.abs(result.numpy() - expected).max() <= BOUND, name


@pytest.mark.parametrize("name", ["hrnet_w18_small_v1_ocr", "uhrnet_w18_small_ocr"])
def test_training_returns_the_regions_too(name: str) -> None:
    model = create_model(name, 5)
    model.train()
    outputs = model(paddle.rand([2, 3, 65, 97]))
    assert [output.shape for output in outputs] == [[2, 5, 65, 97]] * 2
    sum(output.square().mean() for output in outputs).backward()
    for key, parameter in model.named_parameters():
        assert parameter.stop_gradient or np.isfinite(parameter.grad.numpy()).all(), key
    model.eval()
    assert [output.shape for output in model(paddle.rand([1, 3, 65, 97]))] == [[1, 5, 65, 97]]


def test_paddlesegs_ocr_weights_compute_what_they_do_there() -> None:
    """PaddleSeg's network, whose convolutions have biases, filled at random; ours filled from it."""
    models = pytest.importorskip("paddleseg.models")
    paddle.seed(3)
    theirs = models.OCRNet(num_classes=6, backbone=models.HRNet_W18_Small_V1(), backbone_indices=[0])
    for key, parameter in theirs.named_parameters():
        shape = parameter.shape
        if key.endswith("_variance"):
            parameter.set_value(paddle.rand(shape) + 0.5)
        elif len(shape) == 1:
            parameter.set_value(paddle.randn(shape) * 0.3 + float(key.endswith("_batch_norm.weight")))
        elif key.startswith("head."):
            parameter.set_value(paddle.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5)
    ours = create_model("hrnet_w18_small_v1_ocr", 6, padding="same")
    report = load_weights(ours, {key: value.numpy() for key, value in theirs.state_dict().items()})
    assert report.layout == "PaddleSeg HRNet" and len(report.folded) == 7 and not report.unexpected
    theirs.eval()
    ours.eval()
    image = paddle.randn([1, 3, 96, 128])
    with paddle.no_grad():
        expected, result = theirs(image)[0].numpy(), ours(image)[0].numpy()
    assert expected.std() > 0.1
    assert np.abs(result - expected).max() <= BOUND


def test_a_region_is_the_mean_of_its_pixels() -> None:
    """With certain regions, their softmax over the image weighs their own pixels equally and the others not at all."""
    pixels = paddle.rand([1, 4, 3, 5])
    mask = np.zeros((1, 2, 3, 5), "float32")
    mask[:, 0, :, :2] = 60
    mask[:, 1, :, 2:] = 60
    objects = gather(pixels, paddle.to_tensor(mask)).numpy()[0, :, :, 0]
    np.testing.assert_allclose(objects[:, 0], pixels.numpy()[0, :, :, :2].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(objects[:, 1], pixels.numpy()[0, :, :, 2:].mean((1, 2)), rtol=1e-5)


def test_dropout_acts_in_training_alone() -> None:
    head = OCRHead([8, 16], 3, channels=16, key_channels=8, dropout=0.5)
    feats = [paddle.rand([2, 8, 6, 6]), paddle.rand([2, 16, 3, 3])]
    head.eval()
    assert np.array_equal(head(feats)[0].numpy(), head(feats)[0].numpy())
