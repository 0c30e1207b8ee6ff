"""Short names: where they lead, what the network must be built like."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_hrfamily.backbones import ddrnet, hrnet, resnet, uhrnet, variants
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import BACKBONES, Published
from paddle_hrfamily.weights import load_weights, resolve, save
from paddle_hrfamily.weights.published import CatalogueEntry, about, catalogue, named, resolve_network
from paddle_hrfamily.weights.publishers import data_sets
from paddle_hrfamily.zoo import create_model, list_models

VARIANTS = {
    "DDRNet": ddrnet.VARIANTS,
    "DDRNetTrunk": ddrnet.VARIANTS,
    "HRNet": hrnet.VARIANTS,
    "ResNet": resnet.VARIANTS,
    "UHRNet": uhrnet.VARIANTS,
}
RELEASES = "https://github.com/hsfzxjy/models.storage/releases/download/HRNet-OCR/"
# The official segmentation networks, from README.md and the yaml files of branch HRNet-OCR: network, name -> file,
# classes, ALIGN_CORNERS.
OFFICIAL = {
    ("hrnet_w48", "cityscapes"): ("hrnet_cs_8090_torch11.pth", 19, False),
    ("hrnet_w48_ocr", "cityscapes"): ("hrnet_ocr_cs_8162_torch11.pth", 19, True),
    ("hrnet_w48_ocr", "cityscapes_trainval"): ("hrnet_ocr_cs_trainval_8227_torch11.pth", 19, True),
    ("hrnet_w48", "lip"): ("hrnet_lip_5583_torch04.pth", 20, False),
    ("hrnet_w48_ocr", "lip"): ("hrnet_ocr_lip_5648_torch04.pth", 20, True),
    ("hrnet_w48", "pascal_context"): ("hrnet_pascal_ctx_5410_torch11.pth", 59, False),
    ("hrnet_w48_ocr", "pascal_context"): ("hrnet_ocr_pascal_ctx_5618_torch11.pth", 59, True),
    ("hrnet_w48", "coco_stuff"): ("hrnet_cocostuff_3617_torch04.pth", 171, True),
    ("hrnet_w48_ocr", "coco_stuff"): ("hrnet_ocr_cocostuff_3965_torch04.pth", 171, True),
    ("hrnet_w48", "ade20k"): ("hrnet_ade20k_4312_torch04.pth", 150, True),
    ("hrnet_w48_ocr", "ade20k"): ("hrnet_ocr_ade20k_4451_torch04.pth", 150, True),
}
MODELS_OF = {"hrnet_w48": "HRNetSeg", "hrnet_w48_ocr": "OCRSeg"}


@pytest.mark.parametrize(("network", "name"), OFFICIAL)
def test_every_official_network_has_its_name(network: str, name: str) -> None:
    file, classes, align_corners = OFFICIAL[network, name]
    weights = resolve_network(MODELS_OF[network], "HRNet", "W48", name)
    assert weights.source == RELEASES + file
    assert (weights.padding, weights.align_corners) == ("symmetric", align_corners)
    assert weights.data is not None and weights.data.num_classes == classes
    assert weights.in_place_abn == file.endswith("torch04.pth")


@pytest.mark.parametrize(
    ("network", "name", "end"),
    [
        ("ddrnet_23_slim", "imagenet", "/ddrnet/pretrain/ddrnet23s-in1kpre_3rdparty-1ccac5b1.pth"),
        ("ddrnet_23", "imagenet", "/ddrnet/pretrain/ddrnet23-in1kpre_3rdparty-9ca29f62.pth"),
        ("ddrnet_23", "imagenet_paddleseg", "/ddrnet23_cityscapes_1024x1024_120k/pretrain/model.pdparams"),
        ("ddrnet_23", "cityscapes", "cityscapes-1024x1024_20230425_162633-81601db0.pth"),
        ("hrnet_w18", "cityscapes", "/fcn_hr18_512x1024_160k_cityscapes_20200602_190822-221e4a4f.pth"),
        ("hrnet_w48", "cityscapes_mmseg_40k", "/fcn_hr48_512x1024_40k_cityscapes_20200601_014240-a989b146.pth"),
        ("hrnet_w48_ocr", "voc", "/ocrnet_hr48_512x512_20k_voc12aug_20200617_233932-9e82080a.pth"),
        ("hrnet_w48", "pascal_context_60", "/fcn_hr48_480x480_80k_pascal_context_20200911_155322-847a6711.pth"),
        ("hrnet_w48", "pascal_context_mmseg", "_pascal_context_59_20210411_003240-3ae7081e.pth"),
        ("hrnet_w18", "voc_paddleseg", "/pascal_voc12/fcn_hrnetw18_voc12aug_512x512_40k/model.pdparams"),
        ("hrnet_w48", "cityscapes_paddleseg", "/fcn_hrnetw48_cityscapes_1024x512_80k/model.pdparams"),
        ("hrnet_w18_ocr", "voc_paddleseg", "/pascal_voc12/ocrnet_hrnetw18_voc12aug_512x512_40k/model.pdparams"),
        ("hrnet_w18_small_v1", "imagenet", "timm/hrnet_w18_small.ms_in1k"),
        ("hrnet_w18_small_v2", "imagenet", "timm/hrnet_w18_small_v2.ms_in1k"),
        ("hrnet_w18", "imagenet", "timm/hrnet_w18.ms_in1k"),
        ("hrnet_w48", "imagenet_cutmix", "/PretrainedWeights/HRNet_W48_C_cosinelr_cutmix_300epoch.pth.tar"),
        ("uhrnet_w48", "cityscapes", "/fcn_uhrnetw48_cityscapes_1024x512_120k_bs3/model.pdparams"),
    ],
)
def test_other_publishers_names(network: str, name: str, end: str) -> None:
    (entry,) = [entry for entry in catalogue() if entry.network == network and name in entry.names]
    assert entry.weights.source.endswith(end)


def test_every_entry_is_of_a_network_there_is_and_says_all_that_is_needed() -> None:
    for name, table in VARIANTS.items():
        assert set(BACKBONES[name].weights) <= set(table)
    entries = catalogue()
    assert len({entry.weights.source for entry in entries}) == len(entries)  # each file once
    for entry in entries:
        weights = entry.weights
        assert weights.data is not None and weights.publisher and weights.licence
        if entry.whole:
            assert entry.network in list_models()
            assert weights.align_corners is not None and re.match(r"\d\d\.\d+ mIoU on (val|test)", weights.score)
        else:
            assert weights.data is data_sets.IMAGENET and weights.align_corners is None
        assert weights.padding == padding_of(entry)
        if "openmmlab" in weights.source or "download.pytorch" in weights.source:
            assert re.fullmatch(r"[0-9a-f]{8}", weights.sha256) and f"-{weights.sha256}.pth" in weights.source


def padding_of(entry: CatalogueEntry) -> str | None:
    if entry.network.startswith("resnet"):
        return None
    return "same" if entry.weights.source.startswith("https://bj.bcebos.com/paddleseg/dygraph/") else "symmetric"


def test_labels_are_those_of_the_data_sets_here() -> None:
    from paddle_hrfamily import data  # noqa: F401
    from paddle_hrfamily.registry import CLASSES

    here = {"Cityscapes": "CITYSCAPES", "LIP": "LIP", "ADE20K": "ADE20K", "PascalVOC": "PASCAL_VOC"}
    for table, name in here.items():
        assert len(CLASSES[table]) == getattr(data_sets, name).num_classes


def test_the_first_publisher_has_the_plain_name() -> None:
    ours, theirs, short = (Published(source, None) for source in "abc")
    network = ("HRNet", "W48")
    names = named(("", {network: {("x", ""): ours}}), ("y", {network: {("x", ""): theirs, ("x", "8k"): short}}))
    assert names[network] == {"x": ours, "x_y": theirs, "x_y_8k": short}


def test_both_forms_of_ddrnet_have_the_same_weights() -> None:
    assert BACKBONES["DDRNetTrunk"].weights == BACKBONES["DDRNet"].weights


def test_whole_networks_fill_backbones_too() -> None:
    assert resolve("HRNet", "W48", "cityscapes").source.endswith("hrnet_cs_8090_torch11.pth")
    assert resolve("HRNet", "W48", "cityscapes_ocr").source.endswith("hrnet_ocr_cs_8162_torch11.pth")
    assert resolve("HRNet", "W48", "cityscapes", "OCRSeg").source.endswith("hrnet_ocr_cs_8162_torch11.pth")
    assert resolve("DDRNet", "23", "cityscapes_paddleseg").padding == "same"


@pytest.mark.parametrize("source", ["weights/x.pth", "x.pdparams", "https://h/x.pdparams", "hf-hub:timm/x"])
def test_what_is_no_short_name_passes_through(source: str) -> None:
    published = resolve("HRNet", "W18", source)
    assert (published.source, published.padding) == (source, None)


def test_a_published_file_is_known_wherever_it_lies() -> None:
    known = about(RELEASES + "hrnet_ocr_lip_5648_torch04.pth")
    assert known is not None and known.in_place_abn
    assert about("/data/downloads/hrnet_ocr_lip_5648_torch04.pth") == known
    assert about(Path("hrnet_ocr_lip_5648_torch04.pth")) == known
    assert about("/data/model.pdparams") is None  # as many files are called
    assert about("hrnet.pth") is None and about({"x": 1}) is None


def test_a_file_with_the_look_of_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").write_bytes(b"x")
    assert resolve("HRNet", "W18", "imagenet").source == "imagenet"


@pytest.mark.parametrize(
    ("family", "variant", "says"),
    [
        ("HRNet", "W48", "HRNet W48; there are imagenet, imagenet_cutmix, ssld, ssld_paddleseg, cityscapes, lip"),
        ("UHRNet", "W18", "UHRNet W18; none are"),
    ],
)
def test_an_unknown_name_lists_what_there_is(family: str, variant: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolve(family, variant, "mapillary")


# What a name does to a network


@pytest.mark.parametrize(
    ("network", "name", "classes", "corners", "padding"),
    [
        ("hrnet_w48_ocr", "lip", 20, True, "symmetric"),
        ("hrnet_w48", "pascal_context", 59, False, "symmetric"),
        ("hrnet_w18", "voc_paddleseg", 21, False, "same"),
    ],
)
def test_a_name_chooses_what_is_left_open(
    monkeypatch: pytest.MonkeyPatch, network: str, name: str, classes: int, corners: bool, padding: str
) -> None:
    asked = []
    monkeypatch.setattr(variants, "load_weights", lambda model, source, part: asked.append(source))
    with paddle.LazyGuard():
        model = create_model(network, pretrained=name)
        assert create_model(network, 7, pretrained=name).num_classes == 7  # a head that begins anew
        assert create_model(network, pretrained="imagenet").num_classes == 19
    assert (model.num_classes, model.align_corners, model.backbone.align_corners) == (classes, corners, corners)
    assert model.backbone.padding == padding and len(asked) == 3


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a small network that are published with align_corners true."""
    file = tmp_path / "trained.safetensors"
    save(create_model("hrnet_w18_small_v1", 4).state_dict(), file)
    data = data_sets.DataSet("Four things", 4, "")
    known = Published("https://h/trained.safetensors", "symmetric", data, align_corners=True)
    monkeypatch.setattr("paddle_hrfamily.weights.loading.about", lambda source: known)
    return file


def test_other_corners_are_an_error_that_says_what_to_write(trained: Path) -> None:
    assert load_weights(create_model("hrnet_w18_small_v1", 4, align_corners=True), trained).missing == []
    model = create_model("hrnet_w18_small_v1", 4)
    before = model.head.classify.weight.numpy()
    says = "model.align_corners and model.backbone.align_corners are False: write `align_corners: true` in the model's"
    with pytest.raises(UserError, match=says):
        load_weights(model, trained)
    np.testing.assert_array_equal(model.head.classify.weight.numpy(), before)
    model.align_corners = True
    with pytest.raises(UserError, match="align_corners True, and model.backbone.align_corners is False: write"):
        load_weights(model, trained)


def test_other_corners_in_a_backbone_alone_are_a_warning(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_weights(create_model("hrnet_w18_small_v1", 3), trained, part="auto")
    assert "trained with align_corners True" in caplog.text and "the backbone alone" in caplog.text


def test_another_number_of_classes_names_key_and_values(trained: Path) -> None:
    says = r"model.num_classes is 3, and these weights tell 4 classes apart \(Four things\): write `num_classes: 4`"
    with pytest.raises(UserError, match=says):
        load_weights(create_model("hrnet_w18_small_v1", 3, align_corners=True), trained)
