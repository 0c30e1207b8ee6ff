"""DDRNet: against the official code's answers and counts, and what the paper says of its parts."""

from __future__ import annotations

from math import ceil
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from paddle.nn import functional as F

from paddle_hrfamily.backbones import DDRNet, HRNet, ddrnet
from paddle_hrfamily.backbones.context import CONTEXTS, DAPPM, PPM
from paddle_hrfamily.complexity import Complexity, complexity
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.models import DDRSeg
from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.weights.ddrnet import OFFICIAL
from paddle_hrfamily.zoo import create_model
from tests.networks import assert_gradient_norms, assert_running_means
from tests.parity import Parity

pytestmark = pytest.mark.line

BOUND = 1e-3

# fixture -> model, and those of its outputs that there are answers for
FIXTURES = {
    "ddrnet_23_slim_aux": ("ddrnet_23_slim", ("logits", "aux_logits")),
    "mmseg_ddrnet_23_slim": ("ddrnet_23_slim", ("logits",)),
    "ddrnet_23_slim_cls": ("ddrnet_23_slim_cls", ("logits",)),
}


def outputs(model: nn.Layer, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the model computes in evaluation, at its own stride, and the auxiliary output that it would not return."""
    model.eval()
    with paddle.no_grad():
        feats = model.backbone(paddle.to_tensor(image))
        result = model.head(feats)
        if not isinstance(model, DDRSeg):
            return {"logits": result.numpy()}
        return {"logits": result[0].numpy(), "aux_logits": model.head.auxiliary(feats[1]).numpy()}


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs_equal_the_official_code(parity: Parity, name: str) -> None:
    architecture, expected = FIXTURES[name]
    model = create_model(architecture, **({} if architecture.endswith("_cls") else {"auxiliary": True}))
    report = load_weights(model, parity.state_dict(name))
    assert not (report.missing or report.mismatched or report.unexpected or report.fresh)
    sizes = [size for size in parity.meta(name)["inputs"] if size not in parity.meta(name)["errors"]]
    assert len(sizes) == 2
    for size in sizes:
        results = outputs(model, parity.input_image(name, size))
        for kind in expected:
            answer = parity.answer(name, f"{kind}_{size}.npy")
            assert results[kind].shape == answer.shape
            assert np.abs(results[kind] - answer).max() <= BOUND, (kind, size)


def test_stage_outputs_equal_the_official_code(parity: Parity) -> None:
    """The official names of stages, and where they are here; ours end some stages with the ReLU that follows there."""
    name = "ddrnet_23_slim_aux"
    model = create_model("ddrnet_23_slim", auxiliary=True)
    load_weights(model, parity.state_dict(name))
    backbone = model.backbone
    layers = {
        "conv1": backbone.stem.conv2,
        "layer1": backbone.stem.blocks2,
        "layer2": backbone.stem.blocks3,
        "layer4": backbone.conv5.low,
        "layer4_": backbone.conv5.high,
        "layer5_": backbone.high_end,
        "layer5": backbone.low_end,
        "spp": backbone.context,
    }
    seen: dict[str, np.ndarray] = {}
    for key, layer in layers.items():
        layer.register_forward_post_hook(lambda layer, inputs, out, key=key: seen.update({key: out.numpy()}))
    outputs(model, parity.input_image(name, "128x256"))
    expected = parity.answer(name, "intermediates_128x256.npz")
    assert set(expected.files) == set(layers)
    for key in layers:
        answer = np.maximum(expected[key], 0) if key in ("layer1", "layer2") else expected[key]
        assert np.abs(seen[key] - answer).max() <= BOUND, key


# (million parameters, GFLOPs at 1024x2048) with 19 classes, of the unmodified official code. The paper's GFLOPs are
# multiply-accumulates of convolutions and additions of their biases / 10^9.
PUBLISHED = {
    "ddrnet_23_slim": ("5.6960", "36.303"),
    "ddrnet_23": ("20.1489", "143.103"),
    "ddrnet_39": ("32.3603", "281.159"),
}
# With the head of deep supervision, which the official code calls too: multiply-accumulates / 10^9.
SUPERVISED = {
    "ddrnet_23_slim": ("5.7343", "37.529"),
    "ddrnet_23": ("20.2994", "147.972"),
    "ddrnet_39": ("32.6608", "290.939"),
}
# (million parameters, GFLOPs at 224x224) of tables I to III's networks, counted by fvcore.
CLASSIFICATION = {
    "ddrnet_23_slim_cls": ("7.5747", "0.978"),
    "ddrnet_23_cls": ("28.2166", "3.878"),
    "ddrnet_39_cls": ("40.1303", "6.953"),
}


def million(count: Complexity) -> str:
    return f"{count.parameters / 1e6:.4f}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_equal_the_official_code_to_the_last_digit(name: str) -> None:
    count = complexity(lambda: create_model(name), 1024, 2048)
    assert (million(count), f"{count.billion_with_biases:.3f}") == PUBLISHED[name]


def test_counts_at_1024() -> None:
    count = complexity(lambda: create_model("ddrnet_39"), 1024, 1024)
    assert f"{count.billion_with_biases:.3f} {count.billion:.3f} {count.giga:.3f}" == "140.579 140.558 130.905"


@pytest.mark.parametrize("name", SUPERVISED)
def test_counts_with_deep_supervision(name: str) -> None:
    class Both(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.model = create_model(name, auxiliary=True)

        def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
            feats = self.model.backbone(image)
            return [*self.model.head(feats), self.model.head.auxiliary(feats[1])]

    count = complexity(Both, 1024, 2048)
    assert (million(count), f"{count.billion:.3f}") == SUPERVISED[name]


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_counts_of_classification(name: str) -> None:
    """fvcore takes a batch norm for two operations an element, and a bilinear resize for four."""
    count = complexity(lambda: create_model(name), 224, 224)
    flops = (count.macs + 2 * count.normalised + 4 * count.resized) / 1e9
    assert (million(count), f"{flops:.3f}") == CLASSIFICATION[name]


def test_how_far_the_largest_is_from_the_paper() -> None:
    """Table VII gives 70.2 M and 303.0 for DDRNet-39 1.5× and no configuration: VARIANTS states this deviation."""
    count = complexity(lambda: create_model("ddrnet_39_1_5x"), 1024, 1024)
    assert f"{count.parameters / 1e6:.3f} {count.billion_with_biases:.3f}" == "70.971 308.347"
    assert f"{count.parameters / 70.2e6 - 1:.1%} {count.billion_with_biases / 303.0 - 1:.1%}" == "1.1% 1.8%"


@pytest.fixture(scope="module")
def step(parity: Parity) -> SimpleNamespace:
    """One training step with deep supervision in float64: the official code's, and this network's."""
    data = parity.answer("ddrnet_23_slim_aux", "train_step/data.npz")
    paddle.set_default_dtype("float64")
    try:
        model = create_model("ddrnet_23_slim", auxiliary=True)
    finally:
        paddle.set_default_dtype("float32")
    load_weights(model, parity.state_dict("ddrnet_23_slim_aux"))
    model.train()
    label = paddle.to_tensor(data["label"].astype("int64"))
    logits = model(paddle.to_tensor(data["input"].astype("float64")))
    losses = [F.cross_entropy(x.transpose([0, 2, 3, 1]), label, ignore_index=255) for x in logits]
    (losses[0] + 0.4 * losses[1]).backward()
    expected = parity.meta("ddrnet_23_slim_aux/train_step")
    return SimpleNamespace(model=model, losses=[float(loss) for loss in losses], expected=expected, data=data)


def test_losses_of_one_training_step(step: SimpleNamespace) -> None:
    assert step.losses == pytest.approx(step.expected["losses"], rel=1e-3)
    assert step.losses[0] + 0.4 * step.losses[1] == pytest.approx(step.expected["total"], rel=1e-3)


def test_gradient_norms_of_one_training_step(step: SimpleNamespace) -> None:
    assert_gradient_norms(step.model, OFFICIAL, step.expected["grad_l2"])


def test_batch_norm_means_of_one_training_step(step: SimpleNamespace) -> None:
    assert_running_means(step.model, OFFICIAL, step.data)


@pytest.mark.parametrize("variant", ddrnet.VARIANTS)
def test_widths_and_strides_of_the_tables(variant: str) -> None:
    with paddle.LazyGuard():
        backbone = DDRNet(variant)
    width = {"23_slim": 32, "39_1_5x": 96}.get(variant, 64)
    assert (backbone.feat_channels, backbone.feat_strides) == ([4 * width, 2 * width], [8, 8])
    assert len(backbone.conv4) == (2 if variant.startswith("39") else 1)


def test_a_variant_that_yaml_takes_for_a_number() -> None:
    with paddle.LazyGuard():
        assert DDRNet(23).variant == "23"


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Layer]:
    return {key: DDRNet("23_slim", padding=key) for key in ("symmetric", "same")} | {
        "39": DDRNet("39"),
        "cls": create_model("ddrnet_23_slim_cls").backbone,
    }


@settings(max_examples=16, deadline=None)
@given(
    height=st.integers(32, 140),
    width=st.integers(32, 140),
    key=st.sampled_from(["symmetric", "same", "39", "cls"]),
)
def test_any_size_works_and_is_rounded_up(networks: dict, height: int, width: int, key: str) -> None:
    backbone = networks[key]
    backbone.eval()
    with paddle.no_grad():
        feats = backbone(paddle.zeros([1, 3, height, width]))
    assert [x.shape for x in feats] == [
        [1, c, ceil(height / s), ceil(width / s)] for c, s in zip(backbone.feat_channels, backbone.feat_strides)
    ]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_every_parameter_gets_a_finite_gradient_from_one_odd_image(context: str, in_channels: int) -> None:
    paddle.seed(1)
    model = DDRSeg(DDRNet("23_slim", context=context, in_channels=in_channels), 5)
    model.train()
    main, auxiliary = model(paddle.randn([1, in_channels, 95, 161]))
    assert main.shape == auxiliary.shape == [1, 5, 95, 161]
    label = paddle.randint(0, 5, [1, 95, 161])
    (F.cross_entropy(main, label, axis=1) + 0.4 * F.cross_entropy(auxiliary, label, axis=1)).backward()
    assert_finite_gradients(model)


def test_every_parameter_of_the_classification_network_gets_a_finite_gradient() -> None:
    model = create_model("ddrnet_23_slim_cls", num_classes=7)
    logits = model(paddle.randn([2, 3, 65, 47]))
    assert logits.shape == [2, 7]
    F.cross_entropy(logits, paddle.to_tensor([3, 6])).backward()
    assert_finite_gradients(model)


def assert_finite_gradients(model: nn.Layer) -> None:
    for key, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None, key
            assert np.isfinite(parameter.grad.numpy()).all(), key


def test_deep_supervision_looks_at_conv4_after_its_last_fusion_before_the_activation() -> None:
    backbone = DDRNet("39")
    backbone.eval()
    fused: list[paddle.Tensor] = []
    for stage in backbone.conv4:
        stage.register_forward_post_hook(lambda stage, inputs, out: fused.append(out[0]))
    with paddle.no_grad():
        supervised = backbone(paddle.randn([1, 3, 64, 64]))[1]
    assert len(fused) == 2 and float(supervised.min()) < 0
    np.testing.assert_array_equal(supervised.numpy(), fused[-1].numpy())


def test_the_auxiliary_output_is_of_training_alone_and_changes_nothing_else() -> None:
    model = create_model("ddrnet_23_slim", num_classes=4, auxiliary=True)
    assert len(model(paddle.zeros([2, 3, 64, 64]))) == 2
    model.eval()
    image = paddle.randn([1, 3, 64, 64])
    without = create_model("ddrnet_23_slim", num_classes=4)
    without.set_state_dict(model.state_dict())
    without.eval()
    with paddle.no_grad():
        (main,), (alone,) = model(image), without(image)
    np.testing.assert_array_equal(main.numpy(), alone.numpy())


@pytest.mark.parametrize(("module", "sizes"), [(DAPPM, [8, 4, 2, 1]), (PPM, [6, 3, 2, 1])])
def test_context_sizes_of_table_4(module: type[nn.Layer], sizes: list[int]) -> None:
    context = module(32, 16, 8)
    seen: list[list[int]] = []
    for pool in context.pools:
        pool.register_forward_post_hook(lambda pool, inputs, out: seen.append(out.shape[2:]))
    assert context(paddle.randn([2, 32, 16, 16])).shape == [2, 8, 16, 16]
    assert seen == [[size, size] for size in sizes]


@pytest.mark.parametrize("exclusive", [False, True])
def test_averages_at_the_border(exclusive: bool) -> None:
    """Of nothing but ones, averages fall short of 1 where zeros of the padding count."""
    pools = DAPPM(1, 1, 1, exclusive=exclusive).pools
    ones = paddle.ones([1, 1, 16, 16])
    corners = [float(pool(ones)[0, 0, 0, 0]) for pool in pools]
    inside = [float(pool(ones)[0, 0, pool(ones).shape[2] // 2, 0]) for pool in pools]
    expected = [(k // 2 + 1) / k for k in (5, 9, 17)] if not exclusive else [1.0] * 3
    assert corners == pytest.approx([part**2 for part in expected] + [1.0])
    assert inside[:2] == pytest.approx(expected[:2])


def test_each_context_costs_more_than_the_last() -> None:
    counts = [
        complexity(lambda c=context: DDRSeg(DDRNet("23_slim", context=c), auxiliary=False), 512, 512)
        for context in ("none", "ppm", "dappm")
    ]
    assert counts[0].macs < counts[1].macs < counts[2].macs
    assert counts[0].parameters < counts[1].parameters < counts[2].parameters


def test_the_head_sits_on_other_backbones() -> None:
    model = DDRSeg(HRNet("W18_Small_V1"), 3, head_width=16)
    assert [x.shape for x in model(paddle.randn([2, 3, 45, 64]))] == [[2, 3, 45, 64]] * 2


def test_paddlesegs_head_sits_on_this_backbone() -> None:
    models = pytest.importorskip("paddleseg.models")
    model = models.FCN(3, DDRNet("23_slim"), backbone_indices=(0,))
    (logits,) = model(paddle.randn([2, 3, 45, 64]))
    assert logits.shape == [2, 3, 45, 64]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DDRNet("23slim"), ["23slim", "23_slim", "DDRNet"]),
        (lambda: DDRNet(context="spp"), ["context of DDRNet", "spp", "ppm"]),
        (lambda: DDRNet(padding="valid"), ["padding", "valid", "same", "symmetric"]),
        (lambda: DDRSeg(HRNet("W18_Small_V1", concat=True)), ["HRNet has one feature", "auxiliary: False"]),
    ],
)
def test_wrong_arguments_are_answered_with_what_there_is(call, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert all(word in str(caught.value) for word in words)
