"""HRNet-W*-C: answers, counts, sizes, gradients, weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_hrfamily.backbones import HRNet
from paddle_hrfamily.complexity import complexity
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.models import HRNetClassifier, HRNetPose
from paddle_hrfamily.weights import load_weights, save
from paddle_hrfamily.zoo import create_model, list_models
from tests.parity import Parity

TIMM = "hrnet_w18_cls_timm"
BOUND = 1e-3
# Million parameters and GFLOPs at 224x224, counted on the official code; W44-C, W76-C and W96-C are the paper's table
# 20, counted on that code with bottlenecks of a quarter of the width.
COUNTS = {
    "hrnet_w18_small_v1_cls": ("13.1875", "1.492"),
    "hrnet_w18_small_v2_cls": ("15.5975", "2.417"),
    "hrnet_w18_cls": ("21.2990", "3.989"),
    "hrnet_w30_cls": ("37.7122", "7.549"),
    "hrnet_w32_cls": ("41.2327", "8.308"),
    "hrnet_w40_cls": ("57.5572", "11.820"),
    "hrnet_w44_cls": ("67.0650", "13.861"),
    "hrnet_w48_cls": ("77.4699", "16.091"),
    "hrnet_w64_cls": ("128.0599", "26.911"),
    "hrnet_w44_c_cls": ("21.9312", "3.901"),
    "hrnet_w76_c_cls": ("40.7830", "7.303"),
    "hrnet_w96_c_cls": ("57.4815", "10.246"),
}


def tiny(num_classes: int = 3, **options: object) -> HRNetClassifier:
    return create_model("hrnet_w18_small_v1_cls", num_classes, **options)


@pytest.fixture(scope="module")
def w18(parity: Parity) -> HRNetClassifier:
    """The network with the weights of the fixture, every one of which has its place."""
    model = create_model("hrnet_w18_cls")
    report = load_weights(model, parity.state_dict(TIMM))
    assert (report.layout, report.missing, report.unexpected) == ("official HRNet", [], [])
    assert sorted(report.matched) == sorted(model.state_dict())
    model.eval()
    return model


@pytest.mark.parametrize("size", ["128x256", "224x224"])
def test_logits_equal_an_independent_implementation(parity: Parity, w18: HRNetClassifier, size: str) -> None:
    expected = parity.answer(TIMM, f"logits_{size}.npy")
    with paddle.no_grad():
        result = w18(paddle.to_tensor(parity.input_image(TIMM, size))).numpy()
    assert result.shape == expected.shape == (1, 1000)
    assert np.abs(result - expected).max() <= BOUND


def test_every_stage_equals_an_independent_implementation(parity: Parity, w18: HRNetClassifier) -> None:
    expected = parity.answer(TIMM, "intermediates_128x256.npz")
    seen: dict[str, paddle.Tensor] = {}
    hooks = [
        stage.register_forward_post_hook(
            lambda layer, inputs, out, n=n: seen.update({f"stage{n}_{i}": out[s] for i, s in enumerate(sorted(out))})
        )
        for n, stage in enumerate(w18.backbone.stages, start=2)
    ]
    hooks.append(w18.backbone.stem.register_forward_post_hook(lambda layer, inputs, out: seen.update(layer1=out)))
    with paddle.no_grad():
        w18(paddle.to_tensor(parity.input_image(TIMM, "128x256")))
    for hook in hooks:
        hook.remove()
    assert set(seen) == set(expected.files)
    for name in expected.files:
        assert np.abs(seen[name].numpy() - expected[name]).max() <= BOUND, name


@pytest.mark.parametrize("name", COUNTS)
def test_counts_equal_the_official_code_to_the_last_digit(name: str) -> None:
    count = complexity(lambda: create_model(name), 224, 224)
    assert (f"{count.parameters / 1e6:.4f}", f"{count.giga:.3f}") == COUNTS[name]


def test_every_variant_has_a_name() -> None:
    assert set(list_models("hrnet_*_cls")) == {*COUNTS, "hrnet_w60_cls"}


@pytest.mark.parametrize("size", [(32, 32), (45, 33), (97, 71)])
def test_any_size_is_classified(size: tuple[int, int]) -> None:
    model = tiny()
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.randn([2, 3, *size]))
    assert logits.shape == [2, 3] and np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("sizes", [[None, 3, None, None], [1, 3, 65, 47]], ids=["open", "fixed"])
@pytest.mark.parametrize("task", ["cls", "pose", "fpn"])
def test_a_saved_program_computes_the_same(tmp_path: Path, task: str, sizes: list[int | None]) -> None:
    model = create_model(f"hrnet_w18_small_v1_{task}")
    model.eval()
    paddle.jit.save(model, str(tmp_path / "model"), input_spec=[paddle.static.InputSpec(sizes, "float32")])
    saved = paddle.jit.load(str(tmp_path / "model"))
    image = paddle.randn([1, 3, 65, 47])
    with paddle.no_grad():
        results = [out if isinstance(out, (list, tuple)) else [out] for out in (model(image), saved(image))]
    assert len(results[0]) == len(results[1])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("variant", ["W18_Small_V1", "W44_C"])
def test_every_parameter_gets_a_finite_gradient_from_odd_images(variant: str, in_channels: int) -> None:
    paddle.seed(1)
    model = create_model(f"hrnet_{variant.lower()}_cls", 5, in_channels=in_channels)
    model.train()
    logits = model(paddle.randn([2, in_channels, 65, 47]))
    paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([1, 4])).backward()
    for key, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), key


def test_bottleneck_weights_in_the_official_names() -> None:
    """No such weights were published; a checkpoint of the official code with its BOTTLENECK block would be named so."""
    model = create_model("hrnet_w44_c_cls", 2)
    block = "stages.1.3.branches.8.2.conv3"
    value = np.random.RandomState(0).randn(88, 22, 1, 1).astype("float32")
    named = {"stage3.3.branches.1.2.conv3.weight": value, "stage2.0.branches.0.0.conv1.weight": np.ones((11, 44, 1, 1))}
    report = load_weights(model, named, allow_partial=True)
    assert f"backbone.{block}.conv.weight" in report.matched and not report.unexpected
    np.testing.assert_array_equal(model.state_dict()[f"backbone.{block}.conv.weight"].numpy(), value)


# --- the same weights in the other networks ---


def test_a_classifier_of_other_classes_takes_the_backbone_alone(parity: Parity) -> None:
    weights = parity.state_dict(TIMM)
    model = create_model("hrnet_w18_cls", 7)
    with pytest.raises(UserError, match="tells 1000 classes apart and this network 7; build it with num_classes=1000"):
        load_weights(model, weights)
    report = load_weights(model, weights, part="auto")
    assert report.matched and all(name.startswith("backbone.") for name in report.matched)
    report = load_weights(model, weights, allow_partial=True)  # the way to finetune: all but the last layer
    assert {name for name, *_ in report.mismatched} == {"head.linear.weight", "head.linear.bias"}
    assert not report.missing and not report.unexpected


@pytest.mark.parametrize("part", ["backbone", "auto"])
def test_segmentation_takes_the_backbone(parity: Parity, part: str) -> None:
    weights = parity.state_dict(TIMM)
    model = create_model("hrnet_w18", 19)
    report = load_weights(model, weights, part=part)
    assert sorted(report.matched) == sorted(n for n in model.state_dict() if n.startswith("backbone."))
    with pytest.raises(UserError, match="it has no head for this network"):
        load_weights(model, weights)


def test_pose_takes_the_backbone_without_the_exchange_that_it_ends_before(parity: Parity) -> None:
    model = HRNetPose(HRNet("W18", upsampling="nearest", finest_alone=True))
    report = load_weights(model, parity.state_dict(TIMM), part="auto")
    assert sorted(report.matched) == sorted(n for n in model.state_dict() if n.startswith("backbone."))
    left = [name for name in report.dropped if not name.endswith("num_batches_tracked")]
    assert left and all(name.startswith("stage4.2.fuse_layers.") for name in left)


def test_the_weights_of_a_larger_variant_are_not_cut_to_fit_pose(parity: Parity) -> None:
    with pytest.raises(UserError, match="another backbone"):
        load_weights(create_model("hrnet_w18_small_v2_pose"), parity.state_dict(TIMM), part="backbone", strict=False)


def test_the_published_name_fills_the_whole_classifier(parity: Parity, tmp_path: Path, monkeypatch, caplog) -> None:
    caplog.set_level("INFO", "paddle_hrfamily")
    asked: list[str] = []
    file = tmp_path / "model.safetensors"
    save(parity.state_dict(TIMM), file)
    monkeypatch.setattr("paddle_hrfamily.weights.loading.fetch", lambda source, sha256: asked.append(source) or file)
    create_model("hrnet_w18_cls", pretrained="imagenet_cutmix")
    assert asked == ["hf-hub:timm/hrnet_w18.ms_aug_in1k"]
    assert "1631 of 1631 tensors matched" in caplog.text


def test_own_file(tmp_path: Path) -> None:
    source = tiny()
    paddle.save(source.state_dict(), str(tmp_path / "model.pdparams"))
    other = tiny(pretrained=str(tmp_path / "model.pdparams"))
    for name, value in source.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy())


def test_there_is_no_auxiliary_output() -> None:
    with pytest.raises(UserError, match="hrnet_w18_small_v1_cls has no option auxiliary"):
        tiny(auxiliary=True)
