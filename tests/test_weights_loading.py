"""Filling networks: everything matched, or an error that says what does not fit and leaves the network as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.models import HRNetSeg
from paddle_hrfamily.weights import load_weights, save
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

Arrays = dict[str, np.ndarray]


def values(model: paddle.nn.Layer) -> Arrays:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def assert_untouched(model: paddle.nn.Layer, before: Arrays) -> None:
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.fixture(scope="module")
def small() -> HRNetSeg:
    return create_model("hrnet_w18_small_v1", num_classes=4)


@pytest.fixture
def own(small: HRNetSeg) -> Arrays:
    """Weights for `small` other than its own, in its own names."""
    return {name: value + 1 for name, value in values(small).items()}


def refused(model: paddle.nn.Layer, source: object, says: str, **options: object) -> None:
    before = values(model)
    with pytest.raises(UserError, match=says):
        load_weights(model, source, **options)
    assert_untouched(model, before)


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_own_files(small: HRNetSeg, own: Arrays, tmp_path: Path, suffix: str) -> None:
    save(own, tmp_path / f"w{suffix}", padding="symmetric")
    report = load_weights(small, tmp_path / f"w{suffix}")
    assert_untouched(small, own)
    assert (report.layout, report.padding) == ("own", "symmetric")
    assert sorted(report.matched) == sorted(own)
    assert (report.missing, report.unexpected, report.mismatched, report.dropped) == ([], [], [], [])


@pytest.mark.parametrize("file", ["_cityscapes.pth", "_training.pth.tar", ".safetensors"])
def test_real_pytorch_files(parity: Parity, file: str) -> None:
    model = create_model("hrnet_w18_small_v1", num_classes=19)
    path = parity.checkpoint(f"hrnet_w18_small_v1{file}")
    report = load_weights(model, path)
    assert (report.layout, report.padding) == ("official HRNet", "symmetric")
    assert len(report.matched) == len(model.state_dict()) == 363
    assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
    assert all(name.endswith("num_batches_tracked") or name.startswith("loss.") for name in report.dropped)
    assert f"{path}: layout official HRNet, padding symmetric, 363 of 363 tensors matched" in str(report)
    logits = parity.state_dict("hrnet_w18_small_v1_seg")["last_layer.3.bias"]
    np.testing.assert_array_equal(model.head.classify.bias.numpy(), logits)


@pytest.mark.parametrize(
    ("fixture", "name", "tails"),
    [
        ("hrnet_w18_cls_timm", "hrnet_w18", ("incre_modules", "downsamp_modules", "final_layer", "classifier")),
        ("hrnet_w18_small_v2_ocr_alignF", "hrnet_w18_small_v2", ("conv3x3_ocr", "ocr_", "cls_head", "aux_head")),
    ],
)
def test_other_heads_are_reported_and_fill_the_backbone(parity: Parity, fixture: str, name: str, tails: tuple) -> None:
    weights = parity.state_dict(fixture)
    model = create_model(name, num_classes=19)
    refused(model, weights, r'it has no head for this network; load the backbone alone with part="backbone"')
    head = model.head.mix.conv.weight.numpy().copy()
    report = load_weights(model, weights, part="backbone")
    assert all(key.startswith(tails) for key in report.unexpected)
    assert sorted(report.matched) == sorted(n for n in model.state_dict() if n.startswith("backbone."))
    np.testing.assert_array_equal(model.head.mix.conv.weight.numpy(), head)
    assert load_weights(model.backbone, weights).unexpected == report.unexpected


def test_uhrnet_drops_the_layer_that_nobody_calls(parity: Parity) -> None:
    weights = parity.state_dict("paddleseg_uhrnet_w18_small_fcn")
    report = load_weights(create_model("uhrnet_w18_small", num_classes=19), weights)
    assert (report.layout, report.padding) == ("PaddleSeg U-HRNet", "same")
    assert len(report.dropped) == 8
    assert all(key.startswith("backbone.last_layer.") for key in report.dropped)
    assert (report.missing, report.unexpected) == ([], [])


def test_a_backbone_file_of_paddleseg(parity: Parity) -> None:
    """Its ImageNet files name a backbone's tensors without a prefix."""
    weights = parity.state_dict("paddleseg_uhrnet_w18_small_fcn")
    backbone = {key[len("backbone.") :]: value for key, value in weights.items() if key.startswith("backbone.")}
    network = UHRNet("W18_Small")
    report = load_weights(network, backbone)
    assert len(report.matched) == len(network.state_dict())
    assert report.unexpected == []


# --- padding ---


def test_weights_for_the_other_padding(small: HRNetSeg, own: Arrays, tmp_path: Path) -> None:
    save(own, tmp_path / "same.pdparams", padding="same")
    refused(
        small, tmp_path / "same.pdparams", r'write `padding: same` in the .* create_model\(\.\.\., padding="same"\)'
    )
    refused(small, tmp_path / "same.pdparams", "padding", part="backbone", allow_partial=True, strict=False)
    assert load_weights(small, tmp_path / "same.pdparams", ignore_padding=True).padding == "same"
    assert_untouched(small, own)


@pytest.mark.parametrize(
    ("fixture", "name", "padding", "needed"),
    [
        ("paddleseg_hrnet_w18_fcn", "hrnet_w18", "symmetric", "same"),
        ("hrnet_w18_small_v1_seg", "hrnet_w18_small_v1", "same", "symmetric"),
        ("paddleseg_uhrnet_w18_small_fcn", "uhrnet_w18_small", "symmetric", "same"),
    ],
)
def test_layouts_know_their_padding(parity: Parity, fixture: str, name: str, padding: str, needed: str) -> None:
    weights = parity.state_dict(fixture)
    refused(create_model(name, num_classes=19, padding=padding), weights, f"`padding: {needed}`")
    load_weights(create_model(name, num_classes=19, padding=needed), weights)


# --- what does not fit ---


def test_less_than_the_backbone(small: HRNetSeg, own: Arrays) -> None:
    gone = "backbone.stages.2.0.branches.32.1.conv2.bn._mean"
    weights = {name: value for name, value in own.items() if name != gone}
    refused(small, weights, f"(?s)does not fill the network; allow_partial.*missing 1: {gone}")
    refused(small, weights, "does not fill", part="backbone")
    refused(small, weights, "does not fill", part="auto")
    before = values(small)[gone]
    report = load_weights(small, weights, allow_partial=True)
    assert report.missing == [gone]
    assert_untouched(small, {**own, gone: before})


def test_the_weights_of_a_larger_variant_are_not_cut_to_fit(parity: Parity) -> None:
    """W18 holds every tensor of W18-small-v2 in the same shape, and more: without the rest they are worth nothing."""
    weights = parity.state_dict("hrnet_w18_cls_timm")
    refused(HRNet("W18_Small_V2"), weights, "another backbone")
    refused(create_model("hrnet_w18_small_v2"), weights, "another backbone", part="backbone", strict=False)


def test_a_network_of_another_width(small: HRNetSeg) -> None:
    refused(small, values(HRNet("W18_Small_V2")), "(?s)another backbone|another size", part="backbone")
    wide = {name: np.repeat(value, 2, axis=0) for name, value in values(small).items()}
    says = "(?s)network of another size.*mismatched backbone.stem.conv1.conv.weight: 128×3×3×3 in the file"
    refused(small, wide, says)
    refused(small, wide, says, allow_partial=True)


def test_another_number_of_classes(small: HRNetSeg, own: Arrays) -> None:
    other = {**own, "head.classify.weight": np.zeros((7, 240, 1, 1), "f4"), "head.classify.bias": np.zeros(7, "f4")}
    refused(small, other, r'(?s)tells 7 classes apart and this network 4; build it with num_classes=7.*part="backbone"')
    head = values(small.head)
    for part in ("backbone", "auto"):
        report = load_weights(small, other, part=part)
        assert "head.classify.weight" in report.unexpected
        assert_untouched(small.head, head)
    report = load_weights(small, other, allow_partial=True)
    assert report.mismatched[0] == ("head.classify.weight", (7, 240, 1, 1), (4, 240, 1, 1))


def test_auto_takes_the_head_that_fits(small: HRNetSeg, own: Arrays) -> None:
    report = load_weights(small, own, part="auto")
    assert sorted(report.matched) == sorted(own)
    assert_untouched(small, own)


def test_other_input_channels(own: Arrays) -> None:
    model = create_model("hrnet_w18_small_v1", num_classes=4, in_channels=1)
    refused(model, own, "(?s)takes 3 channels and this network's in_channels is 1; build it with in_channels=3")
    stem = model.backbone.stem.conv1.conv.weight.numpy().copy()
    load_weights(model, own, allow_partial=True)
    np.testing.assert_array_equal(model.backbone.stem.conv1.conv.weight.numpy(), stem)


def test_tensors_without_a_place(small: HRNetSeg, own: Arrays) -> None:
    weights = {**own, "extra.weight": np.zeros(3)}
    refused(small, weights, "(?s)no place here; strict=False.*unexpected 1: extra.weight")
    assert load_weights(small, weights, strict=False).unexpected == ["extra.weight"]


def test_an_auxiliary_head_is_told_from_a_missing_one(own: Arrays) -> None:
    model = create_model("hrnet_w18_small_v1", num_classes=4, auxiliary=True)
    refused(model, own, "missing 7: head.auxiliary")
    load_weights(model, own, part="auto")


@pytest.mark.parametrize("weights", [{"a.b": np.ones(3)}, {"conv1.0.weight": np.ones(3), "x": np.ones(2)}])
def test_unknown_names(small: HRNetSeg, weights: Arrays) -> None:
    refused(small, weights, "are of no known layout; known are official HRNet")


def test_a_wrong_part_is_named(small: HRNetSeg, own: Arrays) -> None:
    refused(small, own, "no part of a network 'backbon'; did you mean backbone", part="backbon")


def test_half_precision_in_the_file(small: HRNetSeg, own: Arrays, tmp_path: Path) -> None:
    half = {name: value.astype("f2") for name, value in own.items()}
    save(half, tmp_path / "half.safetensors")
    load_weights(small, tmp_path / "half.safetensors")
    assert_untouched(small, {name: value.astype("f4") for name, value in half.items()})


def test_tensors_of_paddle_as_source(small: HRNetSeg) -> None:
    other = create_model("hrnet_w18_small_v1", num_classes=4)
    load_weights(small, other.state_dict())
    assert_untouched(small, values(other))


# --- PaddleSeg's networks, and mixtures ---


def test_paddleseg_networks_take_their_own_files(tmp_path: Path) -> None:
    models = pytest.importorskip("paddleseg.models")
    make = lambda: models.FCN(num_classes=3, backbone=models.HRNet_W18_Small_V1())  # noqa: E731
    source, target = make(), make()
    paddle.save(source.state_dict(), str(tmp_path / "model.pdparams"))
    report = load_weights(target, tmp_path / "model.pdparams")
    assert (report.layout, report.padding) == ("own", None)
    assert_untouched(target, values(source))


def test_paddlesegs_head_on_our_backbone() -> None:
    """PaddleSeg's FCN file fills PaddleSeg's FCN on our HRNet: the backbone renamed, the head as it is."""
    models = pytest.importorskip("paddleseg.models")
    source = models.FCN(num_classes=3, backbone=models.HRNet_W18_Small_V1())
    target = models.FCN(num_classes=3, backbone=HRNet("W18_Small_V1", padding="same", concat=True))
    report = load_weights(target, values(source))
    assert (report.layout, report.missing, report.unexpected) == ("PaddleSeg HRNet", [], [])
    image = paddle.randn([1, 3, 64, 64])
    source.eval()
    target.eval()
    np.testing.assert_allclose(source(image)[0].numpy(), target(image)[0].numpy(), atol=1e-4)
