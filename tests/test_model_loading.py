"""Trained weights take the place of what a config calls `pretrained`."""

from __future__ import annotations

from pathlib import Path

import paddle
import pytest

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, model_loading, registration
from paddle_hrfamily.weights import loading, save
from paddle_hrfamily.weights.files import Contents
from paddle_hrfamily.weights.published import about
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


def test_a_published_name_is_the_address_for_the_whole_network() -> None:
    registration.register()
    config = config_file.load("hrnet_w48_ocr_cityscapes.yml")
    assert model_loading.weights_file("cityscapes", config).endswith("/hrnet_ocr_cs_8162_torch11.pth")
    plain = config_file.load("hrnet_w48_cityscapes.yml")
    assert model_loading.weights_file("cityscapes", plain).endswith("/hrnet_cs_8090_torch11.pth")
    with pytest.raises(UserError, match="'imagenet' are published for OCRSeg on HRNet W48; there are cityscapes"):
        model_loading.weights_file("imagenet", config)
    with pytest.raises(UserError, match="no weights are published for SPGNet"):
        model_loading.weights_file("cityscapes", config_file.load("spgnet_r50_cityscapes.yml"))


OFFICIAL = ("cityscapes", "lip", "pascal_context", "coco_stuff", "ade20k")


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("network", ["hrnet_w48", "hrnet_w48_ocr"])
def test_each_config_is_built_as_its_official_weights_need(network: str, name: str) -> None:
    """So that `hrfamily val --config NETWORK_DATA.yml --model_path DATA` is the whole command."""
    registration.register()
    config = config_file.load(f"{network}_{name}.yml")
    weights = about(model_loading.weights_file(name, config))
    section = config.dic["model"]
    assert section["num_classes"] == weights.data.num_classes
    for part in (section, section["backbone"]):
        assert part.get("align_corners", False) == weights.align_corners
    assert section["backbone"].get("padding") in (None, weights.padding)


@pytest.mark.parametrize(
    ("config", "name", "options", "says"),
    [
        ("hrnet_w48_ocr_cityscapes.yml", "cityscapes", ["model.align_corners=False"], "model.align_corners is False"),
        ("hrnet_w48_ocr_cityscapes.yml", "cityscapes_mmseg", [], "align_corners False, and model.align_corners and "),
        ("hrnet_w48_ocr_cityscapes.yml", "lip", [], "num_classes is 19, and these weights tell 20 classes apart"),
    ],
)
def test_a_config_that_the_published_weights_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, config: str, name: str, options: list[str], says: str
) -> None:
    from tests import released

    registration.register()
    loaded = config_file.load(config, opts=options)
    file = "mmseg_hrnet_w48_ocr" if "mmseg" in name else "hrnet_w48_ocr"
    monkeypatch.setattr(loading, "fetch", lambda source, sha256: Path(file))
    monkeypatch.setattr(loading, "open_weights", lambda path: Contents(released.checkpoint(file)))
    with paddle.LazyGuard(), pytest.raises(UserError, match=says):
        model_loading.network(loaded, model_loading.weights_file(name, loaded))


def test_published_weights_choose_the_padding_that_is_left_open() -> None:
    section = {"type": "OCRSeg", "backbone": {"type": "HRNet", "variant": "W48", "pretrained": "imagenet"}}
    address = model_loading._published("cityscapes_paddleseg", section)
    model_loading.leave_pretrained(section, address)
    assert section["backbone"] == {"type": "HRNet", "variant": "W48", "padding": "same"}
