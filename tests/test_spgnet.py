"""SPGNet: the paper's parameters and FLOPs row by row, and what each option does."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F
from paddle.vision.models import resnet18, resnet34
from paddleseg.core.infer import inference

from paddle_hrfamily.backbones import ResNet
from paddle_hrfamily.complexity import complexity
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.heads.image_pooling import ImagePooling
from paddle_hrfamily.integration import config_file as configs
from paddle_hrfamily.integration import registration
from paddle_hrfamily.layers import resize_as
from paddle_hrfamily.models import SPGNet
from paddle_hrfamily.models.semantic_guidance import FeatureGuidance, SemanticGuidance
from paddle_hrfamily.weights import load_weights, save
from paddle_hrfamily.zoo import create_model, find, list_models

FULL, TILE = (1025, 2049), (769, 769)
ONE, R50S, R101S = ("R18",), ("R50", "R50"), ("R101", "R101")
# Table and row -> options, image size, "million parameters/billion multiply-accumulates". The paper prints one digit
# after the point of each; it counts at 1025x2049, and its rows of 256 channels with the window of a crop of 896.
ROWS: dict[str, tuple[dict[str, Any], tuple[int, int], str]] = {
    "3: one stage": ({"encoders": ONE}, FULL, "11.7276/107.586"),
    "3: no SPG": ({"guidance": "none"}, FULL, "23.9288/215.538"),
    "3: sum": ({"guidance": "sum"}, FULL, "23.9481/218.019"),
    "3: softmax": ({"guidance": "softmax"}, FULL, "23.9481/218.019"),
    "3: sigmoid": ({}, FULL, "23.9481/218.019"),
    "3: no identity": ({"identity": False}, FULL, "23.9481/218.019"),
    "3: no supervision": ({"supervision": False}, FULL, "23.9481/218.019"),
    "5: three stages": ({"encoders": ("R18",) * 3}, FULL, "36.1687/328.452"),
    "6: R18 + R50": ({"encoders": ("R18", "R50")}, FULL, "38.3783/336.007"),
    "6: R50 + R18": ({"encoders": ("R50", "R18")}, FULL, "37.9982/329.891"),
    "6: R50 + R50": ({"encoders": R50S}, FULL, "55.5618/467.634"),
    "7: R50": ({"encoders": ("R50",)}, FULL, "24.7331/212.873"),
    "7: R101": ({"encoders": ("R101",)}, FULL, "43.7253/371.684"),
    "7: R152": ({"encoders": ("R152",)}, FULL, "59.3689/530.064"),
    "7: R101 twice": ({"encoders": R101S}, FULL, "93.5461/785.256"),
    "9: R50, 256": ({"encoders": R50S, "decoder_channels": 256}, FULL, "59.7916/654.939"),
    "9: R101, 256": ({"encoders": R101S, "decoder_channels": 256}, FULL, "97.7758/972.561"),
    "9: R50, 256, window of 28": (
        {"encoders": R50S, "decoder_channels": 256, "training_crop": (896, 896)},
        FULL,
        "59.7916/654.791",
    ),
    "9: R101, 256, window of 28": (
        {"encoders": R101S, "decoder_channels": 256, "training_crop": (865, 865)},
        FULL,
        "97.7758/972.413",
    ),
    "11: FPN": ({"encoders": ONE, "image_pooling": "none", "upsample": "fpn"}, FULL, "11.5983/118.588"),
    "11 and 12: no GAP": ({"encoders": ONE, "image_pooling": "none"}, FULL, "11.6440/107.524"),
    "12: GAP": ({"encoders": ONE, "image_pooling": "gap"}, FULL, "11.7276/107.562"),
    "12: a tile": ({"encoders": ONE}, TILE, "11.7276/30.642"),
}
ZOO = {
    "spgnet_r18": "3: sigmoid",
    "spgnet_r50": "6: R50 + R50",
    "spgnet_r50_d256": "9: R50, 256",
    "spgnet_r101_d256": "9: R101, 256",
}


@pytest.mark.parametrize("row", ROWS)
def test_counts_of_the_papers_tables(row: str) -> None:
    options, size, expected = ROWS[row]
    count = complexity(lambda: SPGNet(19, **options), *size)
    assert f"{count.parameters / 1e6:.4f}/{count.billion:.3f}" == expected


@pytest.mark.parametrize("name", ZOO)
def test_the_names_are_the_papers_rows(name: str) -> None:
    defaults = {"encoders": ("R18", "R18"), "decoder_channels": 128}
    entry = find(name)
    assert entry.model == "SPGNet" and entry.size == FULL
    assert entry.model_options == defaults | ROWS[ZOO[name]][0]


def test_the_list_has_every_depth() -> None:
    depths = ["18", "34", "50", "101", "152"]
    assert list_models("spgnet_*") == [*(f"spgnet_r{depth}" for depth in depths), "spgnet_r50_d256", "spgnet_r101_d256"]


@pytest.fixture(scope="module")
def small() -> SPGNet:
    paddle.seed(4)
    return lively(SPGNet(5, training_crop=(64, 96)))


def lively(model: paddle.nn.Layer) -> SPGNet:
    """In evaluation, with logits that are not next to zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("classify.weight"):
            parameter.set_value(paddle.randn(parameter.shape) * 0.1)
    model.eval()
    return model


@settings(max_examples=8, deadline=None)
@given(height=st.integers(32, 140), width=st.integers(32, 140))
def test_logits_have_the_size_of_any_image(small: SPGNet, height: int, width: int) -> None:
    with paddle.no_grad():
        assert [x.shape for x in small(paddle.zeros([1, 3, height, width]))] == [[1, 5, height, width]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance": "softmax"},
        {"guidance": "sum", "identity": False},
        {"guidance": "none", "supervision": False},
        {"guidance": "se", "supervision": False},
        {"guidance": "ge"},
        {"supervision": False, "aggregation": False},
        {"encoders": ("R50", "R18", "R18"), "decoder_channels": 32, "image_pooling": "gap"},
        {"encoders": ONE, "image_pooling": "none", "in_channels": 4},
        {"upsample": "fpn", "align_corners": True},
    ],
    ids=str,
)
def test_every_parameter_gets_a_finite_gradient(options: dict[str, Any]) -> None:
    """From one image alone: its global average is the only value that a batch norm sees."""
    paddle.seed(1)
    model = SPGNet(5, **options)
    model.train()
    outputs = model(paddle.randn([1, options.get("in_channels", 3), 65, 48]))
    stages = len(options.get("encoders", "ab")) if options.get("supervision", True) else 1
    assert [x.shape for x in outputs] == [[1, 5, 65, 48]] * stages
    label = paddle.randint(0, 5, [1, 65, 48])
    sum(F.cross_entropy(x, label, axis=1) for x in outputs).backward()
    for name, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None, name
            assert np.isfinite(parameter.grad.numpy()).all(), name


def test_the_last_stage_comes_first(small: SPGNet) -> None:
    image = paddle.randn([1, 3, 64, 64])
    seen = []
    hooks = [s.classify.register_forward_post_hook(lambda layer, x, y: seen.append(y)) for s in small.stages]
    small.train()
    with paddle.no_grad():
        outputs = small(image)
        seen = [F.interpolate(x, [64, 64], mode="bilinear").numpy() for x in seen]
    small.eval()
    for hook in hooks:
        hook.remove()
    np.testing.assert_array_equal(outputs[0].numpy(), seen[1])
    np.testing.assert_array_equal(outputs[1].numpy(), seen[0])


# Image-level pooling


@pytest.mark.parametrize("size", [(3, 5), (2, 3), (6, 9), (1, 7)])
def test_windows_are_averaged_and_cut_to_the_map(size: tuple[int, int]) -> None:
    pooling = ImagePooling(2, 4, pooling="ap", crop=(65, 96))
    assert pooling.window == (3, 3)
    pooling.eval()
    x = paddle.randn([1, 2, *size])
    seen: list[paddle.Tensor] = []
    pooling.project.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    pooling(x)
    rows, columns = (min(3, s) for s in size)
    array = x.numpy()[0]
    expected = [
        [array[:, i : i + rows, j : j + columns].mean((1, 2)) for j in range(size[1] - columns + 1)]
        for i in range(size[0] - rows + 1)
    ]
    np.testing.assert_allclose(seen[0].numpy()[0], np.array(expected).transpose(2, 0, 1), atol=1e-6)


def test_training_averages_the_whole_crop_and_evaluation_of_such_a_crop_too() -> None:
    ap, gap = (ImagePooling(2, 4, pooling=pooling, crop=(64, 96)) for pooling in ("ap", "gap"))
    gap.set_state_dict(ap.state_dict())
    crop, image = paddle.randn([2, 2, 2, 3]), paddle.randn([2, 2, 4, 6])
    assert ap(image).shape == gap(image).shape == [2, 4, 1, 1]  # in training
    gap.set_state_dict(ap.state_dict())
    ap.eval()
    gap.eval()
    np.testing.assert_allclose(ap(crop).numpy(), gap(crop).numpy(), atol=1e-6)
    assert ap(image).shape == [2, 4, 3, 4] and gap(image).shape == [2, 4, 1, 1]


def test_tiled_inference_is_paddlesegs_sliding_window(small: SPGNet) -> None:
    image = paddle.randn([1, 3, 64, 160])
    with paddle.no_grad():
        tiled = inference(small, image, is_slide=True, crop_size=(96, 64), stride=(64, 64)).numpy()
        left, right = (small(image[:, :, :, start : start + 96])[0].numpy() for start in (0, 64))
    np.testing.assert_allclose(tiled[..., :64], left[..., :64], atol=1e-4)
    np.testing.assert_allclose(tiled[..., 64:96], (left[..., 64:] + right[..., :32]) / 2, atol=1e-4)
    np.testing.assert_allclose(tiled[..., 96:], right[..., 32:], atol=1e-4)


# Guidance


@pytest.mark.parametrize("guidance", ["sigmoid", "softmax", "sum"])
def test_what_is_guided(guidance: str) -> None:
    """The link gets transform(x_d) times, or plus, the mask, and x_d itself beside it."""
    paddle.seed(6)
    plain, shortcut = (SemanticGuidance(8, 3, 4, guidance=guidance, identity=identity) for identity in (False, True))
    shortcut.set_state_dict(plain.state_dict())
    decoded, logits = paddle.randn([2, 8, 5, 7]), paddle.randn([2, 3, 5, 7]) * 3
    linked: list[np.ndarray] = []
    for module in (plain, shortcut):
        module.eval()
        module.link.register_forward_pre_hook(lambda layer, inputs: linked.append(inputs[0].numpy()))
        assert module(decoded, logits).shape == [2, 4, 5, 7]
    mask, transformed = plain.mask(logits).numpy(), plain.transform(decoded).numpy()
    combined = transformed + mask if guidance == "sum" else transformed * mask
    np.testing.assert_allclose(linked[0], combined, atol=1e-6)
    np.testing.assert_allclose(linked[1], combined + decoded.numpy(), atol=1e-6)
    if guidance == "softmax":
        np.testing.assert_allclose(mask.sum((2, 3)), 1, atol=1e-5)
    if guidance == "sigmoid":
        assert 0 < mask.min() < 0.5 < mask.max() < 1


def test_squeeze_and_excitation_weighs_channels_by_their_average() -> None:
    """Table 4's first row in numpy: both layers, for one value a channel."""
    module = FeatureGuidance(32, 4, mask="se", identity=True)
    module.eval()
    x = paddle.randn([2, 32, 5, 7])
    narrow, wide = module.attend[0], module.attend[2]
    assert narrow.weight.shape == [2, 32, 1, 1]
    squeezed = x.numpy().mean((2, 3)) @ narrow.weight.numpy()[:, :, 0, 0].T + narrow.bias.numpy()
    excited = np.maximum(squeezed, 0) @ wide.weight.numpy()[:, :, 0, 0].T + wide.bias.numpy()
    expected = 1 / (1 + np.exp(-excited))
    np.testing.assert_allclose(module.mask(x).numpy()[:, :, 0, 0], expected, atol=1e-5)
    linked: list[np.ndarray] = []
    module.link.register_forward_pre_hook(lambda layer, inputs: linked.append(inputs[0].numpy()))
    module(x, x)
    weighed = module.transform(x).numpy() * expected[:, :, None, None] + x.numpy()
    np.testing.assert_allclose(linked[0], weighed, atol=1e-5)


def test_gather_excite_weighs_patches_of_each_channel_by_itself() -> None:
    module = FeatureGuidance(3, 4, mask="ge", identity=False)
    module.eval()
    x = paddle.randn([1, 3, 16, 24])
    x.stop_gradient = False
    mask = module.mask(x)
    patches = mask.numpy().reshape(3, 2, 8, 3, 8)
    np.testing.assert_array_equal(patches, np.broadcast_to(patches[:, :, :1, :, :1], patches.shape))
    mask[0, 1].sum().backward()
    reached = x.grad.abs().numpy()[0].sum((1, 2)) > 0
    np.testing.assert_array_equal(reached, [False, True, False])


def test_class_weights_tell_what_a_class_does_to_the_mask() -> None:
    module = SemanticGuidance(8, 3, 4, guidance="sum", identity=True)
    module.attend.bn.weight.set_value(paddle.randn([8]))
    module.attend.bn._variance.set_value(paddle.rand([8]) + 0.5)
    module.eval()
    nothing, one = paddle.zeros([1, 3, 1, 1]), paddle.zeros([1, 3, 1, 1])
    one[:, 1] = 1.0
    change = (module.mask(one) - module.mask(nothing)).numpy()[0, :, 0, 0]
    np.testing.assert_allclose(module.class_weights().numpy()[1], change, atol=1e-5)


def test_guided_attention_is_that_of_the_forward_pass(small: SPGNet) -> None:
    seen: list[paddle.Tensor] = []
    hook = small.links[0].attend.register_forward_post_hook(lambda layer, x, y: seen.append(F.sigmoid(y)))
    image = paddle.randn([1, 3, 65, 64])
    with paddle.no_grad():
        small(image)
        (mask,) = small.guided_attention(image)
    hook.remove()
    assert mask.shape == [1, 128, ceil(65 / 4), 16]
    np.testing.assert_array_equal(mask.numpy(), seen[0].numpy())


def test_aggregation_adds_to_the_next_encoder(small: SPGNet) -> None:
    without = SPGNet(5, training_crop=(64, 96), aggregation=False)
    state = small.state_dict()
    without.set_state_dict({name: state[name] for name in without.state_dict()})
    without.eval()
    image = paddle.randn([1, 3, 64, 64])
    silenced = {name: tensor.clone() for name, tensor in state.items() if name.startswith("aggregations.")}
    with paddle.no_grad():
        aggregated = small(image)[0].numpy()
        for name in silenced:
            if ".bn.weight" in name or ".bn.bias" in name:
                state[name].set_value(paddle.zeros_like(state[name]))
        plain = small(image)[0].numpy()
        for name, tensor in silenced.items():
            state[name].set_value(tensor)
        np.testing.assert_allclose(plain, without(image)[0].numpy(), atol=1e-5)
    assert np.abs(aggregated - plain).max() > 1e-3


# Weights


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("imagenet")
    files = {}
    for name, build in (("R18", resnet18), ("R34", resnet34)):
        save(build().state_dict(), folder / f"{name}.pdparams")
        files[name] = str(folder / f"{name}.pdparams")
    return files


def assert_encoder_is(encoder: ResNet, file: str) -> None:
    expected = ResNet(encoder.variant, pretrained=file).state_dict()
    for name, tensor in encoder.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name].numpy())


def test_every_encoder_takes_the_pretrained_weights(imagenet: dict[str, str]) -> None:
    model = create_model("spgnet_r18", pretrained=imagenet["R18"])
    for i, stage in enumerate(model.stages):
        assert_encoder_is(stage.encoder, imagenet["R18"])
        assert (stage.encoder.stem is not None) == (i == 0)


def test_mixed_encoders_have_a_source_each(imagenet: dict[str, str]) -> None:
    model = SPGNet(5, encoders=["R34", "R18", "R18"], pretrained=[imagenet["R34"], imagenet["R18"], None])
    for stage, name in zip(model.stages, ("R34", "R18")):
        assert_encoder_is(stage.encoder, imagenet[name])
    with pytest.raises(UserError, match="one for each of 2 encoders"):
        SPGNet(5, pretrained=[imagenet["R18"]])
    with pytest.raises(UserError, match="R34.pdparams"):
        SPGNet(5, pretrained=imagenet["R34"])
    with pytest.raises(UserError, match="no weights 'imagenet21k' are published for ResNet R18; there are imagenet"):
        SPGNet(5, pretrained="imagenet21k")


def test_a_whole_network_comes_back(small: SPGNet, tmp_path: Path) -> None:
    file = tmp_path / "model.pdparams"
    save(small.state_dict(), file)
    again = SPGNet(5, training_crop=(64, 96), pretrained=str(file))
    again.eval()
    image = paddle.randn([1, 3, 64, 64])
    with paddle.no_grad():
        np.testing.assert_array_equal(again(image)[0].numpy(), small(image)[0].numpy())
    for other, reason in (
        (SPGNet(5, encoders=("R18",)), "no place"),
        (SPGNet(5, encoders=("R18", "R34")), "does not fill the network"),
        (SPGNet(5, decoder_channels=64), "no place"),
        (SPGNet(6), "it tells 5 classes apart and this network 6; build it with num_classes=5\n"),
    ):
        with pytest.raises(UserError, match=rf"model\.pdparams: .*{reason}"):
            load_weights(other, file)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoders": "R50"}, ["encoders", "'R50'", "[R50, R50]"]),
        ({"encoders": []}, ["encoders"]),
        ({"encoders": ["R50", "R51"]}, ["R51", "R50"]),
        ({"decoder_channels": 130}, ["decoder_channels 130", "multiple of 4"]),
        ({"guidance": "sigmod"}, ["guidance", "sigmod", "sigmoid"]),
        ({"image_pooling": "tiled"}, ["image_pooling", "tiled"]),
        ({"upsample": "FPN"}, ["upsample", "fpn"]),
        ({"training_crop": 769}, ["training_crop 769", "height and a width"]),
    ],
)
def test_wrong_arguments_name_the_fix(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        SPGNet(5, **options)
    assert all(word in str(caught.value) for word in words)


# In PaddleSeg


def test_a_config_builds_it_and_ohem_trains_every_stage(tmp_path: Path) -> None:
    ohem = {"type": "OhemCrossEntropyLoss", "min_kept": 100}
    content = {
        "batch_size": 1,
        "iters": 1,
        "train_dataset": {"type": "StreetScenes", "mode": "train", "transforms": [{"type": "Normalize"}]},
        "val_dataset": {"type": "StreetScenes", "mode": "val", "transforms": [{"type": "Normalize"}]},
        "optimizer": {"type": "SGD"},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01},
        "loss": {"types": [ohem, ohem], "coef": [1, 1]},
        "model": {"type": "SPGNet", "encoders": ["R18", "R18"], "num_classes": 8, "training_crop": [64, 64]},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(content))
    registration.register()
    builder = configs.builder(configs.load(tmp_path / "config.yml"))
    model = builder.model
    assert (model.in_channels, model.num_classes) == (3, 8)
    losses = builder.loss
    model.train()
    outputs = model(paddle.randn([2, 3, 64, 64]))
    label = paddle.randint(0, 8, [2, 64, 64])
    each = [coef * loss(x, label) for coef, loss, x in zip(losses["coef"], losses["types"], outputs)]
    assert len(each) == 2
    sum(each).backward()
    assert all(p.grad is not None for p in model.parameters() if p.trainable)


def test_the_exported_graph_computes_the_same(tmp_path: Path) -> None:
    model = lively(SPGNet(4, decoder_channels=16, training_crop=(64, 96)))
    assert static_graph.save(model, [1, 3, 65, 160], "none", tmp_path / "model") == ["65x160"]


class Pooled(paddle.nn.Layer):
    """Image-level pooling and nothing else, with a network's signature."""

    def __init__(self, crop: tuple[int, int]) -> None:
        super().__init__()
        self.pooling = ImagePooling(3, 2, pooling="ap", crop=crop)

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [resize_as(self.pooling(F.max_pool2d(image, 32, stride=32)), image)]


@pytest.mark.parametrize("crop", [(64, 96), (96, 1024), (769, 769)])
def test_windows_in_a_graph_of_open_size(crop: tuple[int, int], tmp_path: Path) -> None:
    """Inside the map, cut to it in one direction, and in both."""
    assert static_graph.save(Pooled(crop), [-1, 3, -1, -1], "none", tmp_path / "model") == ["128x256", "97x161"]
