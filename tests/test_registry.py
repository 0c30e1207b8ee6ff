"""Registration: nothing of PaddleSeg's is replaced, and parts swap in both directions."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager
from paddleseg.models import FCN, OCRNet
from paddleseg.models import backbones as their_backbones
from paddleseg.models.losses import CrossEntropyLoss

from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.host import registry
from paddle_hrfamily.models import HRNetSeg

STOCK = ("HRNet_W18", "UHRNet_W18_Small", "UHRNet_W48", "DDRNet_23", "OCRNet", "FCN", "Cityscapes", "CrossEntropyLoss")


def stock() -> dict[str, object]:
    managers = (manager.MODELS, manager.BACKBONES, manager.DATASETS, manager.LOSSES)
    return {name: m.components_dict[name] for m in managers for name in STOCK if name in m.components_dict}


def test_registering_adds_and_replaces_nothing() -> None:
    before = stock()
    registry.register()
    registry.register()
    assert stock() == before and set(before) == set(STOCK)
    assert manager.BACKBONES["HRNet"] is HRNet and manager.BACKBONES["UHRNet"] is UHRNet
    assert manager.MODELS["HRNetSeg"] is HRNetSeg and "StreetScenes" in manager.DATASETS.components_dict
    assert all(c.__module__.startswith("paddleseg.") for c in before.values())


def test_a_clash_is_refused_and_names_both(monkeypatch) -> None:
    registry.register()
    other = type("HRNetSeg", (), {})
    monkeypatch.setitem(manager.MODELS.components_dict, "HRNetSeg", other)
    with pytest.raises(RuntimeError, match="HRNetSeg is already registered"):
        registry.register()
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
    registry.register()
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
