"""Registries and registration: names are unique, nothing of PaddleSeg's is replaced, parts swap in both directions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager
from paddleseg.models import FCN, OCRNet
from paddleseg.models import backbones as their_backbones
from paddleseg.models.losses import CrossEntropyLoss

from paddle_hrfamily import heads, registry
from paddle_hrfamily.backbones import DDRNet, HRNet, UHRNet
from paddle_hrfamily.contract import Backbone, BackboneTraits, traits
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import registration
from paddle_hrfamily.models import HRNetSeg
from paddle_hrfamily.registry import LOSSES, Registry, snapshot
from tests import tiny

pytestmark = pytest.mark.line


def test_a_name_stands_for_one_component() -> None:
    gadgets = Registry("gadget")
    first, second = type("Gadget", (), {"__module__": "one"}), type("Gadget", (), {"__module__": "two"})
    gadgets.add("Gadget", first)
    gadgets.add("Gadget", first)
    with pytest.raises(UserError, match=r"gadget 'Gadget' is registered twice: as one\.Gadget and as two\.Gadget"):
        gadgets.add("Gadget", second)
    assert (list(gadgets), gadgets["Gadget"], gadgets.get("gadget")) == (["Gadget"], first, None)
    with pytest.raises(UserError, match="no gadget 'gadgit'; did you mean Gadget"):
        gadgets["gadgit"]


def test_a_listener_hears_of_components_before_and_after() -> None:
    gadgets, heard = Registry("gadget"), []
    gadgets.add("a", 1)
    gadgets.announce("test", heard.append)
    gadgets.add("b", 2)
    assert heard == [1, 2]


def test_a_snapshot_brings_back_what_there_was() -> None:
    restore = snapshot()
    registry.loss(type("LossOfATest", (), {}))
    assert "LossOfATest" in LOSSES
    restore()
    assert "LossOfATest" not in LOSSES


MADE_FOR_CONFIGS = {
    "BACKBONES": {"DDRNet", "DDRNetTrunk", "HRNet", "ResNet", "UHRNet"},
    "MODELS": {"DDRSeg", "HRDepth", "HRNetSeg", "OCRSeg", "SpecializeFuse", "SPGNet"},
    "DATASETS": {
        *("ADE20KSplit", "CamVid", "CityscapesFine", "LIP", "NYUv2Depth", "OwnData", "PascalContext60"),
        *("PascalPersonPart", "StreetScenes", "Synapse"),
    },
    "LOSSES": {
        *("BatchDiceLoss", "DepthLoss", "SmoothedCrossEntropyLoss"),
        *("WeightedOhemCrossEntropyLoss", "WeightedPixelCrossEntropyLoss"),
    },
    "TRANSFORMS": {
        *("AsUint8", "NormalizeBands", "RandomBrightness", "RandomDepthZoom", "RandomMirror", "RandomScaleLongSide"),
        *("RandomSliceRotation", "ResizeShortSide"),
    },
}


@pytest.mark.parametrize("kind", MADE_FOR_CONFIGS)
def test_configs_can_name_these_and_no_others(kind: str) -> None:
    registration.register()
    theirs = getattr(manager, kind).components_dict.items()
    assert {name for name, item in theirs if item.__module__.startswith("paddle_hrfamily.")} == MADE_FOR_CONFIGS[kind]


@pytest.mark.parametrize("first", ["data", "integration.plugins"])
def test_whichever_part_is_imported_first_paddleseg_gets_all(first: str) -> None:
    """The hook registers while `paddle_hrfamily.data`, which imports paddleseg, is still being imported."""
    code = f"""
import warnings
warnings.simplefilter("error", RuntimeWarning)
import paddle_hrfamily.integration.hook as hook
hook.install()
import paddle_hrfamily.{first}
import paddleseg
from paddleseg.cvlibs import manager
print("CamVid" in manager.DATASETS.components_dict, "HRNetSeg" in manager.MODELS.components_dict)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


class Foreign(paddle.nn.Layer):
    """A backbone as others write them, with a `padding` that means something else."""

    feat_channels = (8, 16)
    padding = 1


def test_traits_of_a_foreign_backbone_and_of_ours() -> None:
    known = traits(Foreign())
    assert known == BackboneTraits("Foreign", feat_channels=(8, 16))
    assert traits(paddle.nn.ReLU()) == BackboneTraits("ReLU")
    with pytest.raises(UserError, match="ReLU: without feat_channels, HRNetSeg cannot know its features"):
        HRNetSeg(paddle.nn.ReLU())
    ours = traits(UHRNet("W18_Small", concat=True))
    assert (ours.name, ours.variant, ours.padding, ours.concat) == ("UHRNet", "W18_Small", "same", True)
    assert ours.channel_pool and not ours.pools_channels and traits(UHRNet("W18_Small")).pools_channels
    assert traits(DDRNet("39")).head_width == 256


@pytest.mark.parametrize("name", registry.BACKBONES)
def test_every_backbone_keeps_the_contract(name: str) -> None:
    network = registry.BACKBONES[name].component()
    known = traits(network)
    assert isinstance(network, Backbone) and known.name == name and known.in_channels == 3
    assert known.variant and known.feat_strides
    network.eval()
    with paddle.no_grad():
        features = network(paddle.zeros([1, 3, 65, 97]))
    expected = [[1, c, -(-65 // s), -(-97 // s)] for c, s in zip(known.feat_channels, known.feat_strides)]
    assert [x.shape for x in features] == expected


def test_every_head_that_the_room_hands_out_is_registered() -> None:
    assert {name: registry.HEADS[name] for name in registry.HEADS} == {
        name: vars(heads)[name] for name in heads.__all__
    }


STOCK = ("HRNet_W18", "UHRNet_W18_Small", "UHRNet_W48", "DDRNet_23", "OCRNet", "FCN", "Cityscapes", "CrossEntropyLoss")


def stock() -> dict[str, object]:
    managers = (manager.MODELS, manager.BACKBONES, manager.DATASETS, manager.LOSSES)
    return {name: m.components_dict[name] for m in managers for name in STOCK if name in m.components_dict}


def test_registering_adds_and_replaces_nothing() -> None:
    before = stock()
    registration.register()
    registration.register()
    assert stock() == before and set(before) == set(STOCK)
    assert manager.BACKBONES["HRNet"] is HRNet and manager.BACKBONES["UHRNet"] is UHRNet
    assert manager.MODELS["HRNetSeg"] is HRNetSeg and "StreetScenes" in manager.DATASETS.components_dict
    assert all(c.__module__.startswith("paddleseg.") for c in before.values())


def test_a_clash_is_refused_and_names_both(monkeypatch) -> None:
    registration.register()
    other = type("HRNetSeg", (), {})
    monkeypatch.setitem(manager.MODELS.components_dict, "HRNetSeg", other)
    with pytest.raises(RuntimeError, match="HRNetSeg is already registered"):
        registration.register()
    assert manager.MODELS["HRNetSeg"] is other


THEIR_MODELS = {
    "FCN": lambda backbone: FCN(5, backbone, backbone_indices=(-1,)),
    "OCRNet": lambda backbone: OCRNet(5, backbone, backbone_indices=(-1,)),
}
OUR_BACKBONES = {
    "HRNet": lambda: HRNet("W18_Small_V1", concat=True),
    "UHRNet": lambda: UHRNet("W18_Small", concat=True),
}
OTHER_BACKBONES = {
    "ResNet50_vd": lambda: their_backbones.ResNet50_vd(output_stride=None),
    "HRNet_W18_Small_V1": lambda: their_backbones.HRNet_W18_Small_V1(),
}


def train_and_evaluate(model: paddle.nn.Layer) -> None:
    """One step through PaddleSeg's own loss, then evaluation at an odd size."""
    registration.register()
    model.train()
    label = paddle.randint(0, 5, [2, 64, 96])
    loss = sum(CrossEntropyLoss()(logits, label) for logits in model(paddle.randn([2, 3, 64, 96])))
    loss.backward()
    gradients = [p.grad for p in model.backbone.parameters() if p.trainable]
    assert np.isfinite(float(loss)) and all(g is not None and bool(g.isfinite().all()) for g in gradients)
    model.eval()
    with paddle.no_grad():
        assert model(paddle.randn([1, 3, 75, 97]))[0].shape == [1, 5, 75, 97]


@pytest.mark.parametrize("backbone", OUR_BACKBONES)
@pytest.mark.parametrize("model", THEIR_MODELS)
def test_paddlesegs_models_on_our_backbones(model: str, backbone: str) -> None:
    train_and_evaluate(THEIR_MODELS[model](OUR_BACKBONES[backbone]()))


@pytest.mark.parametrize("backbone", OTHER_BACKBONES)
def test_our_model_on_paddlesegs_backbones(backbone: str) -> None:
    train_and_evaluate(HRNetSeg(OTHER_BACKBONES[backbone](), num_classes=5))
