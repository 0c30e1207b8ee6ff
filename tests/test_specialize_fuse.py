"""Specialize and Fuse as a network: levels, sizes, gradients, learning, losses of PaddleSeg, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F
from paddleseg.models import backbones as their_backbones
from paddleseg.models import losses as theirs

from paddle_hrfamily.backbones import HRNet, ResNet, UHRNet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.heads.semantic_pyramid import SemanticPyramidHead, pyramid_pool
from paddle_hrfamily.heads.specialize_fuse import fuse
from paddle_hrfamily.heads.unity import UnityHead
from paddle_hrfamily.integration import registration
from paddle_hrfamily.losses.pyramid import RELABELLINGS
from paddle_hrfamily.models import SpecializeFuse
from paddle_hrfamily.zoo import create_model, list_models

BACKBONES = {
    "PaddleSeg's HRNet": lambda: their_backbones.HRNet_W18_Small_V1(),
    "HRNet": lambda: HRNet("W18_Small_V1"),
    "HRNet concat": lambda: HRNet("W18_Small_V1", concat=True),
    "UHRNet": lambda: UHRNet("W18_Small"),
    "ResNet": lambda: ResNet("R18"),
}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


def step(model: SpecializeFuse, image: paddle.Tensor, label: paddle.Tensor, loss: Any = None) -> list[paddle.Tensor]:
    """Losses of one training step, differentiated."""
    model.train()
    configured = {"types": [loss or theirs.CrossEntropyLoss()], "coef": [1]}
    losses = model.loss_computation(model(image), configured, {"label": label, "img": image})
    sum(losses).backward()
    return losses


def assert_finite_gradients(model: paddle.nn.Layer) -> None:
    for key, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None, key
            assert np.isfinite(parameter.grad.numpy()).all(), key


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_level_has_its_stride_and_every_parameter_a_gradient(backbone: str) -> None:
    model = SpecializeFuse(BACKBONES[backbone](), 5, decoder_width=8 if backbone == "ResNet" else None)
    model.train()
    image = paddle.randn([2, 3, 75, 114])  # nearest multiples of 32: 64 and 128
    outputs = model(image)
    assert [x.shape for x in outputs] == [
        *([2, 5, 64 // s, 128 // s] for s in (32, 16, 8, 4)),
        *([2, 1, 64 // s, 128 // s] for s in (32, 16, 8)),
    ]
    assert len(step(model, image, paddle.randint(0, 5, [2, 75, 114]))) == 7
    assert_finite_gradients(model)
    model.eval()
    with paddle.no_grad():
        assert [x.shape for x in model(image)] == [[2, 5, 75, 114]]


@pytest.mark.parametrize(("strides", "context"), [((4, 32), True), ((4,), True), ((4, 8), False)])
@pytest.mark.parametrize("relabel", RELABELLINGS)
def test_other_pyramids_train_and_answer(strides: tuple[int, ...], context: bool, relabel: Any) -> None:
    model = SpecializeFuse(HRNet("W18_Small_V1"), 3, strides=strides, context=context, relabel=relabel)
    losses = step(model, paddle.randn([2, 3, 64, 64]), paddle.randint(0, 3, [2, 64, 64]))
    assert len(losses) == 2 * len(strides) - 1
    assert_finite_gradients(model)
    model.eval()
    with paddle.no_grad():
        assert model(paddle.randn([1, 3, 33, 70]))[0].shape == [1, 3, 33, 70]


@pytest.mark.parametrize(
    "options",
    [
        {"context": "anl"},
        {"context": "anl_multi"},
        {"output": "single"},
        {"output": "single", "context": "anl"},
        {"output": "single", "context": "none"},
        {"unity_as_written": True, "semantic_channels": 32, "unity_channels": 8},
    ],
    ids=str,
)
def test_the_rows_of_table_6_train_and_answer(options: dict[str, Any]) -> None:
    model = SpecializeFuse(HRNet("W18_Small_V1"), 3, **{"semantic_channels": 16, **options})
    losses = step(model, paddle.randn([2, 3, 64, 64]), paddle.randint(0, 3, [2, 64, 64]))
    assert len(losses) == (1 if "output" in options else 7)
    assert_finite_gradients(model)
    model.eval()
    with paddle.no_grad():
        assert model(paddle.randn([1, 3, 33, 70]))[0].shape == [1, 3, 33, 70]


def test_a_single_output_keeps_the_context_of_all_levels() -> None:
    """Table 6: what is left out is the other levels' classifiers, and unity."""
    paddle.seed(2)
    pyramid, single = (SpecializeFuse(HRNet("W18_Small_V1"), 3, output=output) for output in ("pyramid", "single"))
    state = pyramid.state_dict()
    for name in single.state_dict():
        finest = name.replace("semantic.classify.0.", "semantic.classify.3.")
        single.state_dict()[name].set_value(state[finest])
    left_out = {name for name in state if name not in single.state_dict()}
    assert all(name.startswith(("head.semantic.classify.", "head.unity.")) for name in left_out)
    image = paddle.randn([1, 3, 64, 64])
    pyramid.eval()
    single.eval()
    feats = pyramid.backbone(image)
    pyramid.head.training = single.head.training = True  # all levels' logits, of batch norms in evaluation
    with paddle.no_grad():
        np.testing.assert_allclose(single.head(feats)[0].numpy(), pyramid.head(feats)[3].numpy(), atol=1e-5)


def test_training_and_fusing_have_thresholds_of_their_own() -> None:
    """Table 8's auxiliary supervision: trained as ever, answered by the finest level alone."""
    paddle.seed(3)
    model = SpecializeFuse(HRNet("W18_Small_V1"), 3, threshold=1.1, relabel_threshold=0.9, semantic_channels=16)
    usual = SpecializeFuse(HRNet("W18_Small_V1"), 3, semantic_channels=16)
    usual.set_state_dict(model.state_dict())
    data = {"label": paddle.zeros([1, 64, 64], "int64")}
    image = paddle.randn([1, 3, 64, 64])
    losses = {"types": [theirs.CrossEntropyLoss()], "coef": [1]}
    trained = []
    for network in (model, usual):
        network.train()
        logits = network(image)
        logits[4:] = [paddle.full_like(x, 3.0) for x in logits[4:]]  # sigmoid(3) = 0.95: true unity-cells all
        trained.append([float(x) for x in network.loss_computation(logits, losses, data)])
    np.testing.assert_allclose(*trained, rtol=1e-5)
    assert trained[0][1:4] == [0, 0, 0]  # which leaves nothing to the finer levels
    model.eval()
    finest: list[paddle.Tensor] = []
    model.head.semantic.register_forward_post_hook(lambda layer, inputs, out: finest.append(out[-1]))
    with paddle.no_grad():
        np.testing.assert_array_equal(model.native_logits(image)[0].numpy(), finest[0].numpy())


@settings(max_examples=8, deadline=None)
@given(height=st.integers(32, 80), width=st.integers(32, 80))
def test_any_size_is_answered_at_its_own_size(tiny: SpecializeFuse, height: int, width: int) -> None:
    tiny.eval()
    with paddle.no_grad():
        assert tiny(paddle.randn([1, 3, height, width]))[0].shape == [1, 3, height, width]


@pytest.fixture(scope="module")
def tiny() -> SpecializeFuse:
    return SpecializeFuse(HRNet("W18_Small_V1"), 3)


def test_a_pixel_whose_neighbouring_cells_agree_has_their_class() -> None:
    """What the last resize keeps of equation 2, whatever constants the levels' logits have."""
    paddle.seed(4)
    model = SpecializeFuse(HRNet("W18_Small_V1"), 4)
    model.eval()
    rng = np.random.default_rng(0)
    semantic = [rng.standard_normal((1, 4, n, n), "float32") * 3 + n for n in (2, 4, 8, 16)]
    unity = [rng.choice(np.array([0.1, 0.95], "float32"), (1, 1, n, n)) for n in (2, 4, 8)]
    fused = fuse([paddle.to_tensor(x) for x in semantic], [paddle.to_tensor(x) for x in unity], (4, 8, 16, 32), 0.9)
    model.head.forward = lambda feats: [fused]
    with paddle.no_grad():
        image = model(paddle.zeros([1, 3, 64, 64]))[0].argmax(axis=1).numpy()[0]
    cells = np.pad(fused.argmax(axis=1).numpy()[0], 1, mode="edge")
    agreed = 0
    for y, x in np.ndindex(64, 64):
        row, column = (y + 2) // 4, (x + 2) // 4  # of the padded map: the upper left of the four nearest cells
        nearest = np.unique(cells[row : row + 2, column : column + 2])
        if len(nearest) == 1:
            assert image[y, x] == nearest[0]
            agreed += 1
    assert agreed > 1000


@pytest.mark.parametrize("relabel", RELABELLINGS)
def test_a_small_image_is_learned(relabel: Any) -> None:
    paddle.seed(0)
    rng = np.random.default_rng(0)
    label = np.zeros((1, 64, 64), "int64")
    label[:, 33:] = 1
    label[:, 10:40, 20:50] = 2
    label[0, :3, :5] = 255
    colours = rng.standard_normal((4, 3)).astype("float32")
    image = colours[np.minimum(label, 3)].transpose(0, 3, 1, 2) + 0.1 * rng.standard_normal((1, 3, 64, 64), "float32")
    image, label = paddle.to_tensor(image), paddle.to_tensor(label)
    model = SpecializeFuse(HRNet("W18_Small_V1"), 3, relabel=relabel)
    optimizer = paddle.optimizer.Adam(2e-3, parameters=model.parameters())
    totals = []
    for _ in range(12):
        losses = step(model, image, label)
        optimizer.step()
        optimizer.clear_grad()
        totals.append([float(sum(losses[:4])), float(sum(losses[4:]))])
    (semantic_0, unity_0), (semantic_1, unity_1) = totals[0], totals[-1]
    assert semantic_1 < 0.2 * semantic_0 and unity_1 < 0.6 * unity_0, totals


def test_a_uniform_cell_is_a_unity_cell_whatever_its_neighbours() -> None:
    """The difference from the centroid is 0 there, and what is left is the prior that the bias begins with."""
    head = UnityHead(6, (4, 8, 16), channels=8)
    patches = paddle.randn([1, 6, 2, 2]).numpy().repeat(4, 2).repeat(4, 3)  # four uniform cells of stride 16
    coarse, fine = (F.sigmoid(x).numpy() for x in head(paddle.to_tensor(patches)))
    assert coarse.shape == (1, 1, 2, 2) and fine.shape == (1, 1, 4, 4)
    np.testing.assert_allclose(np.concatenate([coarse.ravel(), fine.ravel()]), 1 / (1 + np.exp(-3)), rtol=1e-5)


def test_unity_is_that_of_the_most_deviated_pixel() -> None:
    """Section 4.1 in numpy: sigmoid, then min pooling."""
    head = UnityHead(6, (4, 16), channels=8)
    head.compare.weight.set_value(paddle.randn([1, 8, 1, 1]))
    x = paddle.randn([1, 6, 8, 8])
    embed, reduce = (layer.weight.numpy()[:, :, 0, 0] for layer in (head.embed, head.reduce))
    pixels = np.einsum("dc,chw->dhw", embed @ reduce, x.numpy()[0])
    expected = np.empty((2, 2))
    for row, column in np.ndindex(2, 2):
        cell = pixels[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        difference = np.maximum(cell - cell.mean((1, 2), keepdims=True), 0)
        logits = np.einsum("d,dhw->hw", head.compare.weight.numpy()[0, :, 0, 0], difference) + 3
        expected[row, column] = (1 / (1 + np.exp(-logits))).min()
    np.testing.assert_allclose(F.sigmoid(head(x)[0]).numpy()[0, 0], expected, atol=1e-5)


def test_unity_as_written_is_section_4_1_in_numpy() -> None:
    """A convolution for pixels, another for centroids, no ReLU between their difference and the last."""
    head = UnityHead(6, (4, 16), channels=8, as_written=True)
    x = paddle.randn([1, 6, 8, 8])
    reduce, embed, centre, compare = (
        layer.weight.numpy()[:, :, 0, 0] for layer in (head.reduce, head.embed, head.embed_centroids, head.compare)
    )
    x_u = np.einsum("dc,chw->dhw", reduce, x.numpy()[0])
    expected = np.empty((2, 2))
    for row, column in np.ndindex(2, 2):
        cell = x_u[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        difference = np.einsum("dc,chw->dhw", embed, cell) - (centre @ cell.mean((1, 2)))[:, None, None]
        logits = np.einsum("d,dhw->hw", compare[0], difference) + 3
        expected[row, column] = (1 / (1 + np.exp(-logits))).min()
    np.testing.assert_allclose(F.sigmoid(head(x)[0]).numpy()[0, 0], expected, atol=1e-5)


def test_anl_attends_to_the_tokens_of_its_own_feature() -> None:
    """One on the finest feature, of which all levels are pooled; or one on each level."""
    x = paddle.randn([1, 8, 16, 16])
    for context in ("anl", "anl_multi"):
        head = SemanticPyramidHead(8, 3, (4, 8), channels=8, context=context)
        head.eval()
        seen: list[paddle.Tensor] = []
        for classify in head.classify:
            classify.register_forward_pre_hook(lambda layer, inputs, seen=seen: seen.append(inputs[0]))
        head(x)
        finest = head.project(x)
        if context == "anl":
            finest = head.appended(finest, pyramid_pool(finest))
            expected = [F.avg_pool2d(finest, 2), finest]
        else:
            levels = [F.avg_pool2d(finest, 2), finest]
            expected = [aggregate(y, pyramid_pool(y)) for aggregate, y in zip(head.context.aggregate, levels)]
        for got, wanted in zip(seen, expected):
            np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)


def test_the_context_has_110_tokens_and_reaches_every_level() -> None:
    x = paddle.randn([1, 16, 16, 24])
    tokens = pyramid_pool(x)
    assert tokens.shape == [1, 16, 110, 1]
    np.testing.assert_allclose(tokens[:, :, 0, 0].numpy(), x.mean(axis=[2, 3]).numpy(), atol=1e-5)
    np.testing.assert_allclose(tokens[:, :, -1, 0].numpy(), x[:, :, -2:, -3:].mean(axis=[2, 3]).numpy(), atol=1e-5)
    for context in ("coarse_to_fine", "none"):
        head = SemanticPyramidHead(16, 3, (4, 8), channels=16, context=context)
        head.eval()
        x.stop_gradient = False
        head(x)[1][:, :, 0, 0].sum().backward()  # one cell of the finest level
        reached = (x.grad.abs() > 0).numpy().any(axis=1).mean()
        x.clear_grad()
        assert reached == (1 if context == "coarse_to_fine" else 1 / (16 * 24))


LOSSES = {
    "CrossEntropyLoss": lambda: theirs.CrossEntropyLoss(weight=[1.0, 2.0, 0.5]),
    "OhemCrossEntropyLoss": lambda: theirs.OhemCrossEntropyLoss(min_kept=20),
    "BootstrappedCrossEntropyLoss": lambda: theirs.BootstrappedCrossEntropyLoss(min_K=3, loss_th=0.3),
    "LovaszSoftmaxLoss": lambda: theirs.LovaszSoftmaxLoss(),
    "MixedLoss": lambda: theirs.MixedLoss([theirs.CrossEntropyLoss(), theirs.DiceLoss()], [0.8, 0.2]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_paddlesegs_losses_take_the_place_of_ce(tiny: SpecializeFuse, name: str) -> None:
    label = paddle.randint(0, 3, [2, 2, 2]).repeat_interleave(32, 1).repeat_interleave(32, 2)
    label[:, :4] = 255
    losses = step(tiny, paddle.randn([2, 3, 64, 64]), label, LOSSES[name]())
    assert len(losses) == 7 and all(np.isfinite(float(x)) for x in losses)
    tiny.clear_gradients()


def test_coefficients_weigh_the_two_pyramids(tiny: SpecializeFuse) -> None:
    tiny.train()
    data = {"label": paddle.randint(0, 3, [1, 64, 64])}
    logits = tiny(paddle.randn([1, 3, 64, 64]))
    ce = theirs.CrossEntropyLoss()
    plain = tiny.loss_computation(logits, {"types": [ce], "coef": [1]}, data)
    weighed = tiny.loss_computation(logits, {"types": [ce, ce], "coef": [2, 0.5]}, data)
    expected = [2 * float(x) for x in plain[:4]] + [0.5 * float(x) for x in plain[4:]]
    np.testing.assert_allclose([float(x) for x in weighed], expected, rtol=1e-6)
    for wrong in (
        {"types": [ce] * 3, "coef": [1, 1, 1]},
        {"types": [ce, theirs.LovaszSoftmaxLoss()], "coef": [1, 1]},
    ):
        with pytest.raises(UserError, match="MixedLoss"):
            tiny.loss_computation(logits, wrong, data)


@pytest.mark.parametrize("shape", [[1, 3, 75, 114], [1, 3, -1, -1]])
def test_the_exported_graph_answers_the_same(tmp_path: Path, shape: list[int]) -> None:
    """At the fixed size, and at the two sizes that `save` compares for an open one; some cells are fused."""
    paddle.seed(1)
    model = SpecializeFuse(HRNet("W18_Small_V1"), 3)
    model.eval()
    probabilities = []
    model.head.unity.register_forward_post_hook(lambda layer, inputs, out: probabilities.extend(map(F.sigmoid, out)))
    with paddle.no_grad():
        model(paddle.randn([1, 3, 64, 64]))
    assert any(bool((p >= 0.9).any()) for p in probabilities)
    static_graph.save(model, shape, "none", tmp_path / "model")


@pytest.mark.parametrize("full_graph", [True, False])
def test_to_static_training_gives_every_parameter_a_gradient(full_graph: bool) -> None:
    model = paddle.jit.to_static(SpecializeFuse(HRNet("W18_Small_V1"), 3), full_graph=full_graph)
    step(model, paddle.randn([2, 3, 64, 64]), paddle.randint(0, 3, [2, 64, 64]))
    assert_finite_gradients(model)


def test_the_zoo_has_it_on_every_backbone() -> None:
    channels = {"hrnet_w48": 720, "resnet101": 720, "uhrnet_w18": 279}  # section 5.1.3; half of U-HRNet's
    for name, width in channels.items():
        with paddle.LazyGuard():
            head = create_model(f"{name}_specialize_fuse", 150).head
        shapes = [tuple(layer.weight.shape[:2]) for layer in (head.semantic.project, head.unity.reduce)]
        assert shapes == [(512, width), (64, width)]
    assert len(list_models("*_specialize_fuse")) == len(list_models("*_ocr")) + 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strides": (4, 12)}, ["strides [4, 12]", "power of two"]),
        ({"strides": ()}, ["strides []"]),
        ({"strides": (8, 4)}, ["strides [8, 4]"]),
        ({"strides": (8, 16)}, ["strides [8, 16]", "stride 4"]),
        ({"relabel": "simplefix"}, ["'simplefix'", "simple_fix"]),
        ({"strides": (4,), "output": "singel"}, ["'singel'", "single"]),
        ({"strides": (4,), "context": "alnmulti"}, ["'alnmulti'", "anl_multi"]),
    ],
)
def test_wrong_arguments_are_answered_with_the_fix(options: dict[str, Any], words: list[str]) -> None:
    backbone = paddle.nn.Identity()
    backbone.feat_channels, backbone.feat_strides = [8, 16], [4, 8]
    with pytest.raises(UserError) as caught:
        SpecializeFuse(backbone, 3, **options)
    assert all(word in str(caught.value) for word in words)
