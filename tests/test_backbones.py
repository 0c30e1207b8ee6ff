"""Backbones: shapes at every size, channel counts, gradients, forms."""

from __future__ import annotations

from math import ceil

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_hrfamily.backbones import HRNet, UHRNet, hrnet, uhrnet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.zoo import create_model

pytestmark = pytest.mark.line

SMALL = [(HRNet, "W18_Small_V1"), (HRNet, "W18_Small_V2"), (UHRNet, "W18_Small")]
EVERY = [(HRNet, v) for v in hrnet.VARIANTS] + [(UHRNet, v) for v in uhrnet.VARIANTS]


@pytest.fixture(scope="module")
def small_networks() -> dict[str, paddle.nn.Layer]:
    return {f"{cls.__name__} {padding}": cls("W18_Small_V1" if cls is HRNet else "W18_Small", padding=padding)
            for cls in (HRNet, UHRNet) for padding in ("symmetric", "same")}  # fmt: skip


@pytest.mark.parametrize(("family", "variant"), EVERY)
def test_streams_have_the_widths_and_strides_of_the_papers(family: type, variant: str) -> None:
    with paddle.LazyGuard():  # shapes alone: the large ones would take a while to fill
        backbone = family(variant)
    width = {"W18_Small_V1": 16}.get(variant) or int(variant.split("_")[0][1:])
    streams = 4 if family is HRNet else 5
    assert backbone.feat_strides == [4 * 2**i for i in range(streams)]
    assert backbone.feat_channels == [width * 2**i for i in range(streams)]
    with paddle.LazyGuard():
        assert family(variant, concat=True).feat_channels == [15 * width if family is HRNet else 31 * width // 2]


@settings(max_examples=12, deadline=None)
@given(height=st.integers(32, 99), width=st.integers(32, 99), key=st.sampled_from(["HRNet", "UHRNet"]),
       padding=st.sampled_from(["symmetric", "same"]))  # fmt: skip
def test_a_stream_of_stride_s_is_the_image_over_s_rounded_up(small_networks, height, width, key, padding) -> None:
    backbone = small_networks[f"{key} {padding}"]
    backbone.eval()
    with paddle.no_grad():
        feats = backbone(paddle.zeros([1, 3, height, width]))
    assert [x.shape for x in feats] == [
        [1, c, ceil(height / s), ceil(width / s)] for c, s in zip(backbone.feat_channels, backbone.feat_strides)
    ]


@pytest.mark.parametrize(("family", "variant"), SMALL)
def test_concatenated_form_is_what_the_head_makes_of_the_list(family: type, variant: str) -> None:
    parts, whole = family(variant), family(variant, concat=True)
    whole.set_state_dict(parts.state_dict())
    parts.eval()
    whole.eval()
    image = paddle.randn([1, 3, 65, 70])
    with paddle.no_grad():
        feats, (concatenated,) = parts(image), whole(image)
    pooled = [(x[:, ::2] + x[:, 1::2]) / 2 if family is UHRNet else x for x in feats]
    resized = [paddle.nn.functional.interpolate(x, pooled[0].shape[2:], mode="bilinear") for x in pooled]
    np.testing.assert_allclose(paddle.concat(resized, axis=1).numpy(), concatenated.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["hrnet_w18_small_v2", "uhrnet_w18_small"])
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_every_parameter_gets_a_finite_gradient_from_one_odd_image(name: str, in_channels: int) -> None:
    paddle.seed(1)
    model = create_model(name, num_classes=5, in_channels=in_channels, auxiliary=True)
    model.train()
    main, auxiliary = model(paddle.randn([1, in_channels, 95, 161]))
    assert main.shape == auxiliary.shape == [1, 5, 95, 161]
    label = paddle.randint(0, 5, [1, 95, 161])
    for logits in (main, auxiliary):
        paddle.nn.functional.cross_entropy(logits, label, axis=1).backward(retain_graph=True)
    for key, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None, key
            assert np.isfinite(parameter.grad.numpy()).all(), key


@pytest.mark.parametrize("name", ["hrnet_w18_small_v1", "uhrnet_w18_small"])
def test_one_image_of_32_pixels_trains(name: str) -> None:
    model = create_model(name, num_classes=2)
    model.train()
    logits = model(paddle.randn([1, 3, 32, 32]))[0]
    logits.mean().backward()
    assert logits.shape == [1, 2, 32, 32] and np.isfinite(logits.numpy()).all()


def test_both_fusions_keep_widths_but_compute_differently() -> None:
    b, a = UHRNet("W18_Small", fusion="B"), UHRNet("W18_Small", fusion="A")
    a.set_state_dict(b.state_dict())
    a.eval()
    b.eval()
    image = paddle.randn([1, 3, 64, 64])
    with paddle.no_grad():
        feats = list(zip(a(image), b(image)))
    assert all(x.shape == y.shape for x, y in feats)
    assert float((feats[0][0] - feats[0][1]).abs().max()) > 1e-3
    # The 1/64 stream ends before the first of the three skips: fusion cannot touch it.
    assert float((feats[-1][0] - feats[-1][1]).abs().max()) == 0


@pytest.mark.parametrize(("first", "last"), [(0, 6), (1, 5), (2, 4)])  # stages 2-8, 3-7, 4-6
def test_the_three_shortcuts_carry_the_early_stage_to_the_late_one(first: int, last: int) -> None:
    backbone = UHRNet("W18_Small")
    backbone.eval()
    seen: dict[str, paddle.Tensor] = {}
    backbone.stages[first].register_forward_post_hook(lambda layer, inputs, out: seen.update(skip=out))
    backbone.transitions[last].register_forward_post_hook(lambda layer, inputs, out: seen.update(joined=out))
    with paddle.no_grad():
        backbone(paddle.randn([1, 3, 64, 64]))
    stride = min(backbone.transitions[last].strides)
    skip = seen["skip"][stride]
    half = (skip[:, ::2] + skip[:, 1::2]) / 2
    np.testing.assert_allclose(seen["joined"][stride][:, half.shape[1] :].numpy(), half.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: HRNet("W19"), ["W19", "W18", "HRNet"]),
        (lambda: UHRNet("W18_small"), ["W18_small", "W18_Small"]),
        (lambda: UHRNet(fusion="C"), ["fusion", "'C'", "A"]),
        (lambda: HRNet(padding="valid"), ["padding", "valid", "same", "symmetric"]),
    ],
)
def test_wrong_arguments_are_answered_with_what_there_is(call, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert all(word in str(caught.value) for word in words)
