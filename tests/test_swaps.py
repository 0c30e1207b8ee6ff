"""PaddleSeg's heads on our backbones, our models on its backbones: a training step, an evaluation, an export each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_hrfamily.backbones import hrnet, uhrnet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.integration import backbone_features, config_file, registration
from paddle_hrfamily.models import HRNetSeg
from paddle_hrfamily.multires import Layout
from paddle_hrfamily.patching import core_module

pytestmark = pytest.mark.line
CLASSES, SIZE, ODD_SIZE = 11, (64, 96), (49, 65)
FEATURES = {"HRNet": 4, "UHRNet": 5}
SMALLER = {"OCRNet": {"ocr_mid_channels": 32, "ocr_key_channels": 16}, "PSPNet": {"pp_out_channels": 32}}
SMALLER |= {"UPerNet": {"channels": 16}, "ANN": {"key_value_channels": 16, "inter_channels": 32}}
# PaddleSeg's head -> the indices it takes of one map, and of one feature per stride. "all" of them is U- and HRNet's.
INDICES: dict[str, tuple[list[int], Any]] = {
    "ANN": ([0, 0], [-2, -1]),
    "CCNet": ([0, 0], [-2, -1]),
    "DeepLabV3P": ([0, 0], [0, -1]),
    "DNLNet": ([0, 0], [-2, -1]),
    "FCN": ([0], [0]),
    "OCRNet": ([0], [0]),
    "PSPNet": ([0, 0], [-2, -1]),
    "UPerNet": ([0], "all"),
}
# What no output of PaddleSeg's depends on, so that no training reaches it.
DEAD = {
    "UPerNet": {
        "head.conv_last.0._conv.weight",
        "head.conv_last.0._batch_norm.weight",
        "head.conv_last.0._batch_norm.bias",
        "head.conv_last.1.weight",
        "head.conv_last.1.bias",
    }
}
OURS = {"HRNetSeg": {}, "OCRSeg": {"channels": 32, "key_channels": 16}, "SpecializeFuse": {}}
# PaddleSeg's backbones; and what is exported in their stead, for the graph of an HRNet-W18 takes 20 seconds.
THEIRS = {"ResNet50_vd": "ResNet50_vd", "HRNet_W18": "HRNet_W18_Small_V1"}


AUXILIARY = {"enable_auxiliary_loss": True}


@pytest.fixture(scope="module", autouse=True)
def _tiny_variants() -> Iterator[None]:
    """Of each family a member with every kind of part and few of them: a graph of the real ones takes seconds."""
    registration.register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hrnet.VARIANTS, "Tiny", Layout(16, hrnet._parallel(1, 1), blocks=1, stem_blocks=1, stem_width=16))
        patch.setitem(uhrnet.VARIANTS, "Tiny", Layout(16, uhrnet._u(1, 1, 1), blocks=1, stem_blocks=1, stem_width=16))
        yield


def build(section: dict[str, Any]) -> paddle.nn.Layer:
    """The model as a user's config builds it."""
    config = config_file.load("uhrnet_w18_small_camvid.yml")
    config.dic["model"] = {"num_classes": CLASSES, **section}
    paddle.seed(0)
    return config_file.builder(config).model


def swapped(head: str, net: str, concat: bool) -> dict[str, Any]:
    indices = INDICES[head][0 if concat else 1]
    if indices == "all":
        indices = list(range(FEATURES[net]))
    backbone = {"type": net, "variant": "Tiny", "concat": concat}
    return {"type": head, "backbone": backbone, "backbone_indices": indices, **SMALLER.get(head, {})}


def training_step(model: paddle.nn.Layer) -> None:
    """Forward in training, cross entropy on every output as PaddleSeg's trainer does it, backward."""
    noise = np.random.RandomState(0)
    data = {
        "img": paddle.to_tensor(noise.randn(2, 3, *SIZE).astype("float32")),
        "label": paddle.to_tensor(noise.randint(0, CLASSES, (2, *SIZE))),
    }
    model.train()
    outputs = model(data["img"])
    from paddleseg.models.losses import CrossEntropyLoss

    if hasattr(model, "loss_computation"):
        loss = model.loss_computation(outputs, {"types": [CrossEntropyLoss()], "coef": [1.0]}, data)
    else:
        losses = {"types": [CrossEntropyLoss() for _ in outputs], "coef": [1.0] * len(outputs)}
        loss = core_module("train").loss_computation(outputs, data["label"], None, losses)
    sum(loss).backward()


def without_gradient(layer: paddle.nn.Layer) -> set[str]:
    """The parameters that the backward pass did not reach; it left no other number than a finite one."""
    trained = {name: p for name, p in layer.named_parameters() if not p.stop_gradient}
    assert all(np.isfinite(p.grad.numpy()).all() for p in trained.values() if p.grad is not None)
    return {name for name, p in trained.items() if p.grad is None}


def unused(backbone: paddle.nn.Layer, indices: list[int]) -> set[str]:
    """The backbone's parameters on which none of these features depends."""
    backbone.clear_gradients()
    feats = backbone(paddle.randn([1, 3, *SIZE]))
    sum(feats[index].mean() for index in indices).backward()
    return {f"backbone.{name}" for name in without_gradient(backbone)}


def evaluates(model: paddle.nn.Layer) -> None:
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.randn([1, 3, *ODD_SIZE]))[0]
    assert logits.shape == [1, CLASSES, *ODD_SIZE]
    assert np.isfinite(logits.numpy()).all()


def exports(model: paddle.nn.Layer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of open shape, compared with the network at two small sizes."""
    monkeypatch.setattr(static_graph, "OPEN_SIZES", (SIZE, ODD_SIZE))
    assert static_graph.save(model, [-1, 3, -1, -1], "none", folder / "model") == ["64x96", "49x65"]


@pytest.mark.parametrize("concat", [True, False], ids=["one map", "every stride"])
@pytest.mark.parametrize("net", FEATURES)
@pytest.mark.parametrize("head", INDICES)
def test_a_head_of_theirs(head: str, net: str, concat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = swapped(head, net, concat)
    model = build(section)
    training_step(model)
    dead = without_gradient(model)
    assert dead == DEAD.get(head, set()) | unused(model.backbone, section["backbone_indices"])
    evaluates(model)
    if concat == (net == "HRNet"):  # every head on both backbones and from both forms: an export takes a second
        exports(model, tmp_path, monkeypatch)


@pytest.mark.parametrize("backbone", THEIRS)
@pytest.mark.parametrize("model", OURS)
def test_a_backbone_of_theirs(model: str, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build({"type": model, "backbone": {"type": backbone}, **OURS[model]})
    training_step(network)
    assert without_gradient(network) == set()
    evaluates(network)
    if THEIRS[backbone] != backbone:
        network = build({"type": model, "backbone": {"type": THEIRS[backbone]}, **OURS[model]})
    exports(network, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"type": "PSPNet", "backbone": {"type": "HRNet", "concat": True}}, ["(2, 3)", "1 feature", "concat"]),
        ({"type": "FCN", "backbone": {"type": "UHRNet"}, "backbone_indices": [5]}, ["[5]", "5 features", "end at 4"]),
        ({"type": "FCN", "backbone": {"type": "HRNet"}, "backbone_indices": 3}, ["list of whole numbers"]),
        ({"type": "DeepLabV3P", "backbone": {"type": "HRNet"}, "backbone_indices": [0]}, ["DeepLabV3P takes 2"]),
        ({"type": "FCN", "backbone": {"type": "HRNet"}, "backbone_indices": [0, 1]}, ["FCN takes 1"]),
        ({"type": "OCRNet", "backbone": {"type": "HRNet"}, "backbone_indices": [0, 1]}, ["4 and 8", "concat: true"]),
        ({"type": "UPerNet", **AUXILIARY, "backbone": {"type": "HRNet"}, "backbone_indices": [0, 1]}, ["takes 3 or"]),
    ],
)
def test_what_does_not_fit_says_why(section: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        build({**section, "backbone": {**section["backbone"], "variant": "Tiny"}})
    assert str(error.value).startswith("model.backbone_indices") and all(word in str(error.value) for word in words)


def test_a_backbone_that_tells_nothing_of_its_features() -> None:
    with pytest.raises(UserError, match="model.backbone.type Conv2D: without feat_channels"):
        backbone_features.check(HRNetSeg, {"backbone": paddle.nn.Conv2D(3, 8, 3)})
