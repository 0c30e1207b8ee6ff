"""Names of published layouts: every one of a network's tensors is reached, once."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.weights import load_weights
from paddle_hrfamily.weights.layouts import strip
from paddle_hrfamily.weights.loading import detect, layouts
from paddle_hrfamily.weights.official import HRFPN, MMSEG, OFFICIAL
from paddle_hrfamily.weights.own import OWN
from paddle_hrfamily.weights.paddleseg import HRNET, UHRNET
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

LAYOUT_OF = {
    "hrnet_w18_small_v1_seg": OFFICIAL,
    "hrnet_w18_small_v2_seg": OFFICIAL,
    "hrnet_w18_small_v2_ocr_alignF": OFFICIAL,
    "hrnet_w18_cls_timm": OFFICIAL,
    "hrnetv1_pose_w18_small": OFFICIAL,
    "hrnetv2_landmarks_w18_small": OFFICIAL,
    "hrnetv2p_hrfpn_w18": HRFPN,
    "paddleseg_hrnet_w18_fcn": HRNET,
    "paddleseg_uhrnet_w18_small_fcn": UHRNET,
}


@pytest.mark.parametrize("name", LAYOUT_OF)
def test_exactly_one_layout_matches(parity: Parity, name: str) -> None:
    keys = parity.meta(name)["keys"]
    assert [layout for layout in layouts() if layout.matches(keys)] == [LAYOUT_OF[name]]


@pytest.mark.parametrize("name", LAYOUT_OF)
def test_no_two_tensors_get_one_name(parity: Parity, name: str) -> None:
    ours = [LAYOUT_OF[name].rename(key) for key in parity.meta(name)["keys"]]
    ours = [key for key in ours if key is not None]
    assert len(set(ours)) == len(ours)


@pytest.mark.parametrize("variant", ["W18_Small_V1", "W18_Small_V2"])
def test_paddlesegs_hrnets_are_reached_whole(variant: str) -> None:
    models = pytest.importorskip("paddleseg.models")
    keys = getattr(models, f"HRNet_{variant}")().state_dict()
    assert {HRNET.rename(key) for key in keys} == {f"backbone.{name}" for name in HRNet(variant).state_dict()}
    assert detect(dict(keys), [], "x") is HRNET


def test_paddlesegs_uhrnet_is_reached_whole() -> None:
    models = pytest.importorskip("paddleseg.models")
    names = [f"backbone.{key}" for key in models.UHRNet_W18_Small().state_dict()]
    ours = {UHRNET.rename(key) for key in names if not UHRNET.is_dead(key)}
    assert ours == {f"backbone.{name}" for name in UHRNet("W18_Small").state_dict()}
    assert detect(dict.fromkeys(names), [], "x") is UHRNET


def mmseg_names(official: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same network as mmsegmentation stores it: the batch norm absorbs the bias of the mixing convolution."""
    head = [
        (r"last_layer\.0\.weight", "decode_head.convs.0.conv.weight"),
        (r"last_layer\.1\.(.+)", r"decode_head.convs.0.bn.\1"),
        (r"last_layer\.3\.(.+)", r"decode_head.conv_seg.\1"),
        (r"(?!decode_head)(.+)", r"backbone.\1"),
    ]
    renamed = {}
    for key, value in official.items():
        name = key
        for pattern, replacement in head:
            name = re.sub(f"^{pattern}$", replacement, name)
        renamed[name] = value
    renamed["decode_head.convs.0.bn.running_mean"] = (
        official["last_layer.1.running_mean"] - official["last_layer.0.bias"]
    )
    del renamed["backbone.last_layer.0.bias"]
    return renamed


def test_mmsegmentation_computes_the_same(parity: Parity) -> None:
    name = "hrnet_w18_small_v1_seg"
    model = create_model("hrnet_w18_small_v1", num_classes=19)
    report = load_weights(model, {"state_dict": None, **mmseg_names(parity.state_dict(name))})
    assert (report.layout, report.missing, report.unexpected) == (MMSEG.name, [], [])
    alone = load_weights(model, mmseg_names(parity.state_dict(name)), part="backbone")
    assert all(key.startswith("decode_head.") for key in alone.unexpected)
    model.eval()
    with paddle.no_grad():
        feats = model.backbone(paddle.to_tensor(parity.input_image(name, "128x256")))
        logits = model.head(feats)[0].numpy()
    expected = parity.answer(name, "logits_128x256.npy")
    assert np.abs(logits - expected).max() < 1e-3


def test_linear_weights_of_pytorch_are_transposed() -> None:
    linear, convolution = np.zeros((3, 5)), np.zeros((3, 5, 1, 1))
    assert OFFICIAL.value(linear).shape == (5, 3)
    assert OFFICIAL.value(convolution).shape == (3, 5, 1, 1)
    assert HRNET.value(linear).shape == (3, 5)


@pytest.mark.parametrize("key", ["stem.conv1.conv.weight", "backbone.stem.conv1.conv.weight"])
def test_own_names_with_and_without_the_prefix(key: str) -> None:
    assert OWN.matches([key])
    assert OWN.rename(key) == "backbone.stem.conv1.conv.weight"


INNER = {"conv1.weight": np.ones(1), "model_part.bn1.running_mean": np.ones(1)}


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.model.", "model.module."])
def test_wrappers_are_stripped(prefix: str) -> None:
    losses = [] if prefix == "" else ["loss.criterion.weight"]
    outer = prefix.partition(".")[0] + "." if prefix.startswith("module.model.") else ""
    wrapped = {prefix + key: value for key, value in INNER.items()}
    wrapped |= {f"{prefix}bn1.num_batches_tracked": np.array(3)} | {outer + key: np.ones(1) for key in losses}
    kept, dropped = strip(wrapped)
    assert kept.keys() == INNER.keys()
    assert any(key.endswith("num_batches_tracked") for key in dropped)
    assert len(dropped) == 1 + len(losses)


@given(st.dictionaries(st.from_regex(r"(model\.|module\.)?[a-z]{1,3}\.weight", fullmatch=True), st.just(np.ones(1))))
def test_stripping_loses_nothing(arrays: dict[str, np.ndarray]) -> None:
    kept, dropped = strip(arrays)
    assert len(kept) + len(dropped) == len(arrays)


@given(st.text("abst.0123456789_ridgecovnlywf", max_size=60))
def test_any_name_is_renamed_or_not_known(key: str) -> None:
    for layout in layouts():
        ours = layout.rename(key)
        assert ours is None or ours.startswith(("backbone.", "head."))
