"""DDRNet's weights: every layout whole, every padding in the network it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_hrfamily.backbones import DDRNet, DDRNetTrunk, ddrnet, variants
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.models import DDRNetClassifier, DDRSeg
from paddle_hrfamily.weights import load_weights, read, resolve, save
from paddle_hrfamily.weights.ddrnet import CLASSIFICATION, MMSEG, OFFICIAL, PADDLESEG
from paddle_hrfamily.weights.loading import detect, layouts
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

pytestmark = pytest.mark.line

LAYOUT_OF = {
    "ddrnet_23_slim_aux": OFFICIAL,
    "ddrnet_23_slim_cls": CLASSIFICATION,
    "mmseg_ddrnet_23_slim": MMSEG,
}


@pytest.mark.parametrize("name", LAYOUT_OF)
def test_exactly_one_layout_matches_and_names_nothing_twice(parity: Parity, name: str) -> None:
    keys = [key for key in parity.meta(name)["keys"] if not key.endswith("num_batches_tracked")]
    assert [layout for layout in layouts() if layout.matches(keys)] == [LAYOUT_OF[name]]
    ours = {LAYOUT_OF[name].rename(key) for key in keys}
    assert None not in ours and len(ours) == len(keys)


def conv(path: str) -> Iterator[str]:
    yield f"{path}.weight"


def norm(path: str) -> Iterator[str]:
    yield from (f"{path}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var"))


def conv_norm(path: str, first: int = 0) -> Iterator[str]:
    yield from conv(f"{path}.{first}")
    yield from norm(f"{path}.{first + 1}")


def blocks(layer: str, count: int, convs: int = 2, reshapes: bool = False) -> Iterator[str]:
    for b in range(count):
        for n in range(1, convs + 1):
            yield from conv(f"{layer}.{b}.conv{n}")
            yield from norm(f"{layer}.{b}.bn{n}")
    if reshapes:
        yield from conv_norm(f"{layer}.0.downsample")


def official_trunk(depths: tuple[int, int, int, int], runs: tuple[str, ...]) -> Iterator[str]:
    """The official code's names, by the blocks of its four layers and the suffixes of its third's runs."""
    for first in (0, 3):
        yield from conv_norm("conv1", first)
        yield f"conv1.{first}.bias"
    yield from blocks("layer1", depths[0])
    yield from blocks("layer2", depths[1], reshapes=True)
    for run in runs:
        yield from blocks(f"layer3{run}", depths[2] // len(runs), reshapes=run in ("", "_1"))
        yield from blocks(f"layer3{run}_", depths[2] // len(runs))
        yield from conv_norm(f"compression3{run}")
        yield from conv_norm(f"down3{run}")
    yield from blocks("layer4", depths[3], reshapes=True)
    yield from blocks("layer4_", depths[3])
    yield from conv_norm("compression4")
    yield from (*conv_norm("down4"), *conv_norm("down4", 3))
    for layer in ("layer5", "layer5_"):
        yield from blocks(layer, 1, convs=3, reshapes=True)


def official_segmentation() -> Iterator[str]:
    for part, (bn, cv) in {"scale0": (0, 2), "compression": (0, 2), "shortcut": (0, 2)}.items():
        yield from (*norm(f"spp.{part}.{bn}"), *conv(f"spp.{part}.{cv}"))
    for i in range(1, 5):
        yield from (*norm(f"spp.scale{i}.1"), *conv(f"spp.scale{i}.3"))
        yield from (*norm(f"spp.process{i}.0"), *conv(f"spp.process{i}.2"))
    for head in ("final_layer", "seghead_extra"):
        yield from (*norm(f"{head}.bn1"), *conv(f"{head}.conv1"), *norm(f"{head}.bn2"), *conv(f"{head}.conv2"))
        yield f"{head}.conv2.bias"


def official_classification() -> Iterator[str]:
    yield from (*conv_norm("down5"), *conv_norm("down5", 3), *conv_norm("last_layer"))
    yield from ("linear.weight", "linear.bias")


DEPTHS = {"23_slim": ((2, 2, 2, 2), ("",)), "23": ((2, 2, 2, 2), ("",)), "39": ((3, 4, 6, 3), ("_1", "_2"))}


def test_the_names_written_out_here_are_the_official_ones(parity: Parity) -> None:
    for name, tail in (
        ("ddrnet_23_slim_aux", official_segmentation),
        ("ddrnet_23_slim_cls", official_classification),
    ):
        keys = {key for key in parity.meta(name)["keys"] if not key.endswith("num_batches_tracked")}
        assert {*official_trunk(*DEPTHS["23_slim"]), *tail()} == keys


@pytest.mark.parametrize("variant", DEPTHS)
def test_every_variant_is_reached_whole(variant: str) -> None:
    with paddle.LazyGuard():
        models = {
            OFFICIAL: (DDRSeg(DDRNet(variant)), official_segmentation),
            CLASSIFICATION: (DDRNetClassifier(DDRNetTrunk(variant)), official_classification),
        }
    for layout, (model, tail) in models.items():
        keys = [*official_trunk(*DEPTHS[variant]), *tail()]
        assert sorted(layout.rename(key) for key in keys) == sorted(model.state_dict())
        assert detect(dict.fromkeys(keys), [], "x") is layout


def test_the_official_file_loads(parity: Parity) -> None:
    file = parity.checkpoint("ddrnet_23_slim_imagenet_style.pth")
    model = create_model("ddrnet_23_slim", auxiliary=True)
    report = load_weights(model, file)
    assert (report.layout, len(report.matched)) == (OFFICIAL.name, len(model.state_dict()))
    state, official = model.state_dict(), read(file)
    kept = {key: value for key, value in official.items() if not key.endswith("num_batches_tracked")}
    assert len(kept) == len(state)
    for key, value in kept.items():
        np.testing.assert_array_equal(state[OFFICIAL.rename(key)].numpy(), value)


def test_a_network_without_deep_supervision_leaves_its_head_out(
    parity: Parity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "paddle_hrfamily")
    file = parity.checkpoint("ddrnet_23_slim_imagenet_style.pth")
    model = create_model("ddrnet_23_slim", pretrained=str(file))
    count = len(model.state_dict())
    assert f"{count} of {count} tensors matched" in caplog.text
    report = load_weights(model, file)
    head = [key for key in read(file) if key.startswith("seghead_extra.") and not key.endswith("num_batches_tracked")]
    assert (len(report.matched), sorted(report.training_only)) == (count, sorted(head)) and not report.unexpected
    assert f"training only, left out {len(head)}: seghead_extra" in str(report)


def test_other_tensors_without_a_place_are_still_refused(parity: Parity) -> None:
    arrays = parity.state_dict("ddrnet_23_slim_aux")
    with pytest.raises(UserError, match="part of it has no place here"):
        load_weights(create_model("ddrnet_23_slim"), {**arrays, "second_head.weight": np.zeros(1)})


def test_imagenet_weights_fill_all_but_the_context(parity: Parity) -> None:
    arrays = parity.state_dict("ddrnet_23_slim_cls")
    for context in ("dappm", "ppm", "none"):
        backbone = DDRNet("23_slim", context=context)
        before = {key: value.numpy().copy() for key, value in backbone.state_dict().items()}
        report = load_weights(backbone, arrays)
        assert report.fresh == [key for key in before if key.startswith("context.")] and not report.missing
        assert set(report.matched) | set(report.fresh) == set(before)
        for key in report.fresh:
            np.testing.assert_array_equal(backbone.state_dict()[key].numpy(), before[key])
        np.testing.assert_array_equal(backbone.stem.conv1.conv.weight.numpy(), arrays["conv1.0.weight"])


def test_weights_with_half_a_context_are_refused(parity: Parity) -> None:
    arrays = parity.state_dict("ddrnet_23_slim_aux")
    del arrays["spp.shortcut.2.weight"]
    with pytest.raises(UserError, match=r"does not fill the network[\s\S]*context.shortcut.conv.weight"):
        load_weights(DDRNet("23_slim"), arrays)


@pytest.mark.parametrize("context", ["ppm", "none"])
def test_weights_with_another_context_are_refused(parity: Parity, context: str) -> None:
    with pytest.raises(UserError):
        load_weights(DDRNet("23_slim", context=context), parity.state_dict("ddrnet_23_slim_aux"))


def test_own_file_of_a_classification_network_fills_a_backbone(shared: Path, tmp_path: Path) -> None:
    network = create_model("ddrnet_23_slim_cls")
    file = tmp_path / "imagenet.pdparams"
    save(network.state_dict(), file)
    model = create_model("ddrnet_23_slim", pretrained=str(file))
    np.testing.assert_array_equal(
        model.backbone.low_end.conv3.conv.weight.numpy(), network.backbone.low_end.conv3.conv.weight.numpy()
    )


@pytest.fixture
def theirs() -> nn.Layer:
    """PaddleSeg's own network, slim, with statistics of batch norm that are not as initialised."""
    module = pytest.importorskip("paddleseg.models.ddrnet")
    paddle.seed(5)
    model = module.DualResNet(19, planes=32, head_planes=64, enable_auxiliary_loss=True)
    generator = np.random.default_rng(5)
    for key, value in model.state_dict().items():
        if key.endswith(("_mean", "_variance")):
            value.set_value(generator.uniform(0.2, 1.0, value.shape).astype("float32"))
    model.eval()
    return model


def largest_difference(mine: DDRSeg, other: nn.Layer, image: np.ndarray) -> tuple[float, float]:
    """Of the main and the auxiliary output, at the size of the image."""
    mine.eval()
    x = paddle.to_tensor(image)
    with paddle.no_grad():
        feats = mine.backbone(x)
        native = [*mine.head(feats), mine.head.auxiliary(feats[1])]
        ours = [nn.functional.interpolate(y, x.shape[2:], mode="bilinear").numpy() for y in native]
        return tuple(float(np.abs(a - b.numpy()).max()) for a, b in zip(ours, other(x)))


def test_paddlesegs_weights_with_its_padding(theirs: nn.Layer) -> None:
    arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert [layout for layout in layouts() if layout.matches(arrays)] == [PADDLESEG]
    model = create_model("ddrnet_23_slim", auxiliary=True, padding="same")
    report = load_weights(model, arrays)
    assert len(report.matched) == len(model.state_dict()) == len(arrays)
    image = np.random.default_rng(1).standard_normal((1, 3, 128, 192), dtype=np.float32)
    assert max(largest_difference(model, theirs, image)) <= 1e-3


def test_paddlesegs_network_computes_something_else_from_official_weights(parity: Parity, theirs: nn.Layer) -> None:
    """Ours, built the official way, are within 1e-3 of the official code."""
    name = "ddrnet_23_slim_aux"
    official = {key: v for key, v in parity.state_dict(name).items() if not key.endswith("num_batches_tracked")}
    ours = {OFFICIAL.rename(key): value for key, value in official.items()}
    theirs.set_state_dict({key: ours[PADDLESEG.rename(key)] for key in theirs.state_dict()})
    symmetric, same = (create_model("ddrnet_23_slim", auxiliary=True, padding=p) for p in ("symmetric", "same"))
    load_weights(symmetric, official)
    load_weights(same, official, ignore_padding=True)
    image = parity.input_image(name, "128x256")
    assert largest_difference(symmetric, theirs, image)[0] > 1
    assert max(largest_difference(same, theirs, image)) <= 1e-3
    with paddle.no_grad():
        logits = symmetric.head(symmetric.backbone(paddle.to_tensor(image)))[0].numpy()
    assert np.abs(logits - parity.answer(name, "logits_128x256.npy")).max() <= 1e-3


def test_the_other_padding_is_refused(parity: Parity, theirs: nn.Layer) -> None:
    arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
    with pytest.raises(UserError, match=r"PaddleSeg DDRNet\) were trained with padding 'same'[\s\S]*padding: same"):
        load_weights(create_model("ddrnet_23_slim", auxiliary=True), arrays)
    official = parity.state_dict("ddrnet_23_slim_aux")
    with pytest.raises(UserError, match="padding 'symmetric'"):
        load_weights(create_model("ddrnet_23_slim", auxiliary=True, padding="same"), official)


@pytest.mark.parametrize("name", ["imagenet", "cityscapes"])
def test_a_published_name_chooses_the_padding(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(variants, "load_weights", lambda model, source, part: source)
    with paddle.LazyGuard():
        assert create_model("ddrnet_23", pretrained=name).backbone.padding == "symmetric"
        assert create_model("ddrnet_23", pretrained=f"{name}_paddleseg").backbone.padding == "same"
        assert create_model("ddrnet_23_cls", pretrained="imagenet_paddleseg").backbone.padding == "same"
    assert resolve("DDRNet", "23", "imagenet") == resolve("DDRNetTrunk", "23", "imagenet")


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_mmsegmentations_imagenet_weights_with_and_without_the_prefix(parity: Parity, prefix: str) -> None:
    """As its ImageNet weights are, which leave the context to begin anew."""
    whole = parity.state_dict("mmseg_ddrnet_23_slim")
    trunk = {key[len("backbone.") :]: value for key, value in whole.items() if key.startswith("backbone.")}
    imagenet = {prefix + key: value for key, value in trunk.items() if not key.startswith("spp.")}
    model = create_model("ddrnet_23_slim")
    report = load_weights(model, imagenet, part="auto")
    assert report.layout == MMSEG.name and report.missing == report.unexpected == []
    assert report.fresh and all(name.startswith("backbone.context.") for name in report.fresh)
    np.testing.assert_array_equal(
        model.backbone.conv5.low[1].conv2.conv.weight.numpy(), trunk["context_branch_layers.1.1.conv2.conv.weight"]
    )


def test_what_differs_between_the_paddings() -> None:
    """The single strided steps from fine to coarse and DAPPM's averages, and nothing else."""
    official, other = DDRNet("23_slim"), DDRNet("23_slim", padding="same")
    differing = {
        key
        for (key, a), (_, b) in zip(official.named_sublayers(), other.named_sublayers())
        if (a.extra_repr(), getattr(a, "exclusive", None)) != (b.extra_repr(), getattr(b, "exclusive", None))
    }
    assert differing == {"conv4.0.high_to_low.0.conv", "context.pools.0", "context.pools.1", "context.pools.2"}


def test_every_variant_is_of_a_published_depth_or_stated() -> None:
    assert set(ddrnet.VARIANTS) == {*DEPTHS, "39_1_5x"}
