"""ResNet: the same features as Paddle's and PaddleSeg's own with the same weights, from every published layout."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.vision import models as vision
from paddleseg.models.backbones import resnet_vd

from paddle_hrfamily.backbones import ResNet
from paddle_hrfamily.backbones.resnet import STRIDES, VARIANTS
from paddle_hrfamily.complexity import complexity
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.models import HRNetSeg
from paddle_hrfamily.weights import load_weights, save
from paddle_hrfamily.weights.layouts import LAYOUTS

PLAIN = [name for name in VARIANTS if not VARIANTS[name].vd]
SIZES = [(64, 96), (65, 33), (63, 50)]
BOUND = 1e-3
Arrays = dict[str, np.ndarray]


def with_statistics(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """For evaluation, with batch norms as after a training: an exchange of two of their tensors would show."""
    paddle.seed(1)
    for layer in model.sublayers():
        if hasattr(layer, "_variance"):
            layer._mean.set_value(paddle.rand(layer._mean.shape) * 0.2 - 0.1)
            layer._variance.set_value(paddle.rand(layer._variance.shape) + 0.5)
            layer.weight.set_value(paddle.rand(layer.weight.shape) * 0.5 + 0.5)
            layer.bias.set_value(paddle.rand(layer.bias.shape) * 0.2 - 0.1)
    model.eval()
    return model


def arrays_of(model: paddle.nn.Layer) -> Arrays:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def paddles(variant: str) -> paddle.nn.Layer:
    """paddle.vision's network, with all that its files hold."""
    return with_statistics(getattr(vision, f"resnet{variant[1:]}")())


def paddlesegs(variant: str) -> paddle.nn.Layer:
    return with_statistics(getattr(resnet_vd, f"ResNet{variant[1:]}")(output_stride=None))


def stages_of_paddle(model: paddle.nn.Layer, image: paddle.Tensor) -> list[paddle.Tensor]:
    x = model.maxpool(model.relu(model.bn1(model.conv1(image))))
    feats = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
        feats.append(x)
    return feats


def as_torchvision(arrays: Arrays) -> Arrays:
    """paddle.vision's tensors as torchvision keeps them."""
    names = {"_mean": "running_mean", "_variance": "running_var"}
    renamed = {re.sub(r"_mean$|_variance$", lambda m: names[m[0]], key): value for key, value in arrays.items()}
    renamed["fc.weight"] = renamed["fc.weight"].T
    counters = {key.replace("running_mean", "num_batches_tracked"): np.array(7) for key in renamed if "_mean" in key}
    return renamed | counters


def as_paddleclas(arrays: Arrays) -> Arrays:
    """PaddleSeg's tensors of a `_vd` network as PaddleClas keeps them: blocks numbered through."""
    order = list(dict.fromkeys(m[0] for key in arrays if (m := re.match(r"bb_\d_\d+", key))))
    renamed = {}
    for key, value in arrays.items():
        key = re.sub(r"^bb_\d_\d+", lambda m: f"blocks.{order.index(m[0])}", key)
        key = re.sub(r"^conv1_([123])", lambda m: f"stem.{int(m[1]) - 1}", key)
        renamed[key.replace("._conv.", ".conv.").replace("._batch_norm.", ".bn.")] = value
    return renamed | {"fc.weight": np.zeros((512, 1000), "float32"), "fc.bias": np.zeros(1000, "float32")}


def assert_same_features(ours: ResNet, expected, sizes=SIZES) -> None:
    ours.eval()
    for height, width in sizes:
        image = paddle.randn([1, 3, height, width])
        with paddle.no_grad():
            for stride, x, y in zip(STRIDES, ours(image), expected(image)):
                assert x.shape == y.shape == [1, y.shape[1], ceil(height / stride), ceil(width / stride)]
                assert float((x - y).abs().max()) <= BOUND * max(1.0, float(y.abs().max()))


@pytest.mark.parametrize("layout", ["paddle", "torchvision"])
@pytest.mark.parametrize("variant", ["R18", "R50"])
def test_features_equal_paddles_own_network(variant: str, layout: str) -> None:
    theirs = paddles(variant)
    arrays = arrays_of(theirs)
    ours = ResNet(variant)
    report = load_weights(ours, arrays if layout == "paddle" else as_torchvision(arrays))
    assert (report.layout, report.missing, report.mismatched) == ("torchvision ResNet", [], [])
    assert report.unexpected == [] and {"fc.weight", "fc.bias"} <= set(report.dropped)
    assert_same_features(ours, lambda image: stages_of_paddle(theirs, image))


@pytest.mark.parametrize("layout", ["PaddleSeg", "PaddleClas"])
@pytest.mark.parametrize("variant", ["R18_vd", "R50_vd"])
def test_features_equal_paddlesegs_own_network(variant: str, layout: str) -> None:
    theirs = paddlesegs(variant)
    arrays = arrays_of(theirs)
    ours = ResNet(variant)
    report = load_weights(ours, arrays if layout == "PaddleSeg" else as_paddleclas(arrays))
    assert report.layout.startswith(layout)
    assert (report.missing, report.mismatched, report.unexpected) == ([], [], [])
    assert_same_features(ours, theirs)


@pytest.mark.parametrize("variant", PLAIN)
def test_every_tensor_of_paddles_network_has_a_place(variant: str) -> None:
    with paddle.LazyGuard():
        theirs = getattr(vision, f"resnet{variant[1:]}")().state_dict()
        ours = {f"backbone.{name}": tensor.shape for name, tensor in ResNet(variant).state_dict().items()}
    (layout,) = (layout for layout in LAYOUTS.values() if layout.matches(theirs))
    reached = {layout.rename(key): tensor.shape for key, tensor in theirs.items() if not layout.is_dead(key)}
    assert reached == ours


@pytest.mark.parametrize("variant", [name for name in VARIANTS if VARIANTS[name].vd])
def test_every_tensor_of_the_vd_networks_has_a_place(variant: str) -> None:
    with paddle.LazyGuard():
        theirs = getattr(resnet_vd, f"ResNet{variant[1:]}")(output_stride=None).state_dict()
        ours = {f"backbone.{name}": tensor.shape for name, tensor in ResNet(variant).state_dict().items()}
    for names in ({key: tensor.shape for key, tensor in theirs.items()}, as_paddleclas_shapes(theirs)):
        (layout,) = (layout for layout in LAYOUTS.values() if layout.matches(names))
        reached = {layout.rename(key): shape for key, shape in names.items() if not layout.is_dead(key)}
        assert reached == ours


def as_paddleclas_shapes(state: dict[str, paddle.Tensor]) -> dict[str, list[int]]:
    return as_paddleclas({key: tensor.shape for key, tensor in state.items()})


@pytest.mark.parametrize(
    ("variant", "parameters", "macs"), [("R18", 11689512, 1.814), ("R50", 25557032, 4.089), ("R152", 60192808, 11.514)]
)
def test_counts_are_torchvisions(variant: str, parameters: int, macs: float) -> None:
    """torchvision's documentation has both, at 224×224 with the classifier."""
    count = complexity(lambda: ResNet(variant), 224, 224)
    channels = 2048 if variant != "R18" else 512
    assert count.parameters + 1000 * channels + 1000 == parameters
    assert f"{(count.macs + 1000 * channels) / 1e9:.3f}" == f"{macs:.3f}"


def test_a_network_without_stem_is_the_rest_of_one_with(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pdparams"
    save(paddles("R18").state_dict(), file)
    whole, rest = (ResNet("R18", stem=stem, pretrained=str(file)) for stem in (True, False))
    assert rest.in_channels == 64
    assert set(whole.state_dict()) - set(rest.state_dict()) == {k for k in whole.state_dict() if k.startswith("stem.")}
    whole.eval()
    rest.eval()
    image = paddle.randn([1, 3, 40, 56])
    with paddle.no_grad():
        for x, y in zip(whole(image), rest(whole.stem(image))):
            np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_additions_reach_their_feature_and_those_behind() -> None:
    backbone = ResNet("R18")
    backbone.eval()
    image = paddle.randn([1, 3, 32, 32])
    with paddle.no_grad():
        before = backbone(image)
        zeros = [paddle.zeros_like(x) for x in before]
        after = backbone(image, [zeros[0], zeros[1] + 1.0, *zeros[2:]])
    changes = [float((x - y).abs().max()) for x, y in zip(before, after)]
    assert changes[0] == 0 and changes[1] == pytest.approx(1.0, abs=1e-5) and min(changes[2:]) > 1e-3


@pytest.mark.parametrize("variant", ["R18", "R18_vd", "R50"])
def test_trains_under_the_hrnet_head(variant: str) -> None:
    paddle.seed(2)
    model = HRNetSeg(ResNet(variant, in_channels=1), num_classes=3)
    model.train()
    logits = model(paddle.randn([2, 1, 33, 47]))[0]
    assert logits.shape == [2, 3, 33, 47]
    paddle.nn.functional.cross_entropy(logits, paddle.randint(0, 3, [2, 33, 47]), axis=1).backward()
    for name, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name


def refusal(arrays: Arrays, variant: str) -> str:
    with pytest.raises(UserError) as caught:
        load_weights(ResNet(variant), arrays)
    return str(caught.value)


def test_weights_of_another_form_or_depth_are_refused() -> None:
    vd, plain = arrays_of(paddlesegs("R18_vd")), arrays_of(paddles("R18"))
    assert "build the variant" in refusal(vd, "R18")
    assert "does not fill the network" in refusal(plain, "R18_vd") or "another size" in refusal(plain, "R18_vd")
    assert "build the variant" in refusal(plain, "R34") or "does not fill" in refusal(plain, "R34")


def test_paddleclas_shallow_networks_are_refused_with_the_reason() -> None:
    arrays = as_paddleclas(arrays_of(paddlesegs("R18_vd")))
    shallow = {key: value for key, value in arrays.items() if not re.match(r"stem\.[12]\.", key)}
    message = refusal(shallow, "R18")
    assert "projection in their first block" in message and "R18_vd" in message


def test_an_unknown_variant_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no variant of ResNet 'R51'; did you mean R50"):
        ResNet("R51")
