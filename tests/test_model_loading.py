"""Trained weights take the place of what a config calls `pretrained`."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, model_loading, registration
from paddle_hrfamily.weights import save
from paddle_hrfamily.zoo import create_model

CONFIG = "hrnet_w18_small_v2_cityscapes.yml"  # its `pretrained` is far away


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("run") / "model.pdparams"
    save(create_model("hrnet_w18_small_v2").state_dict(), file)
    return file


def test_pretrained_weights_are_not_fetched(monkeypatch, weights: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    registration.register()
    config = config_file.load(CONFIG)
    assert config.dic["model"]["backbone"]["pretrained"] == "imagenet"
    _, model = model_loading.network(config, str(weights))
    assert model.backbone.variant == "W18_Small_V2"


def test_the_padding_that_pretrained_chose_stays(monkeypatch) -> None:
    registration.register()
    config = config_file.load(CONFIG)
    config.dic["model"]["backbone"] = {"type": "HRNet", "variant": "W18", "pretrained": "ssld_paddleseg"}
    monkeypatch.setattr(model_loading, "load_weights", lambda model, source: source)
    _, model = model_loading.network(config, "trained.pdparams")
    assert model.backbone.padding == "same"


def test_a_checkpoint_folder_stands_for_its_parameters(weights: Path, tmp_path: Path) -> None:
    assert model_loading.weights_file(str(weights.parent)) == str(weights)
    assert model_loading.weights_file("somewhere.pdparams") == "somewhere.pdparams"
    assert model_loading.weights_file(None) is None
    with pytest.raises(UserError, match="is a folder without model.pdparams"):
        model_loading.weights_file(str(tmp_path))
