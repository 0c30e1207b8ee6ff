"""Short names: where they lead, what the network must be built like."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddle_hrfamily.backbones import ddrnet, hrnet, resnet, uhrnet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import BACKBONES
from paddle_hrfamily.weights import resolve

VARIANTS = {
    "DDRNet": ddrnet.VARIANTS,
    "DDRNetTrunk": ddrnet.VARIANTS,
    "HRNet": hrnet.VARIANTS,
    "ResNet": resnet.VARIANTS,
    "UHRNet": uhrnet.VARIANTS,
}
PUBLISHED = {
    (name, variant): BACKBONES[name].weights[variant] for name in VARIANTS for variant in BACKBONES[name].weights
}


def test_every_entry_is_of_a_variant_there_is() -> None:
    assert len(PUBLISHED) == 20
    for family, variant in PUBLISHED:
        assert variant in VARIANTS[family]


@pytest.mark.parametrize("key", PUBLISHED)
def test_sources_and_the_padding_they_need(key: tuple[str, str]) -> None:
    for name, published in PUBLISHED[key].items():
        assert resolve(*key, name) == published
        if key[0] == "ResNet":
            assert published.source.startswith("https://") and published.padding is None
        elif published.source.startswith("hf-hub:timm/"):
            assert published.padding == "symmetric"
        else:
            assert published.source.startswith("https://bj.bcebos.com/paddleseg/dygraph/")
            assert published.source.endswith((".tar.gz", "/model.pdparams"))
            assert published.padding == "same"
    assert {"imagenet", "ssld"} & set(PUBLISHED[key])


def test_both_forms_of_ddrnet_have_the_same_weights() -> None:
    assert PUBLISHED["DDRNetTrunk", "23"] == PUBLISHED["DDRNet", "23"]


def test_cityscapes_is_the_better_of_two_schedules() -> None:
    names = PUBLISHED["UHRNet", "W48"]
    assert names["cityscapes"] == names["cityscapes_120k"] != names["cityscapes_80k"]


@pytest.mark.parametrize("source", ["weights/x.pth", "x.pdparams", "https://h/x.pdparams", "hf-hub:timm/x"])
def test_what_is_no_short_name_passes_through(source: str) -> None:
    published = resolve("HRNet", "W18", source)
    assert (published.source, published.padding) == (source, None)


def test_a_file_with_the_look_of_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").write_bytes(b"x")
    assert resolve("HRNet", "W18", "imagenet").source == "imagenet"


@pytest.mark.parametrize(
    ("family", "variant", "says"),
    [
        ("HRNet", "W48", "HRNet W48; there are imagenet, ssld, ssld_paddleseg, cityscapes_ocr"),
        ("UHRNet", "W18", "UHRNet W18; none are"),
    ],
)
def test_an_unknown_name_lists_what_there_is(family: str, variant: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolve(family, variant, "mapillary")
