"""The public names."""

from __future__ import annotations

import inspect
import re
import sys
from types import ModuleType
from typing import get_type_hints

import numpy as np
import paddle
import pytest

import hrfamily_deploy
import paddle_hrfamily
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.backbones import variants
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import MODELS
from paddle_hrfamily.weights import read
from paddle_hrfamily.weights.official import OFFICIAL
from paddle_hrfamily.zoo import create_model, entries, list_models
from tests.parity import Parity


def test_every_public_name_is_there() -> None:
    assert set(paddle_hrfamily.__all__) == {"__version__", "create_model", "list_models", "load_weights", "UserError"}
    assert all(getattr(paddle_hrfamily, name) is not None for name in paddle_hrfamily.__all__)
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = paddle_hrfamily.create_modle


@pytest.mark.skipif(sys.version_info < (3, 10), reason="annotations say X | None, which Python 3.9 cannot evaluate")
@pytest.mark.parametrize("package", [paddle_hrfamily, hrfamily_deploy], ids=lambda package: package.__name__)
def test_annotations_of_public_functions_can_be_evaluated(package: ModuleType) -> None:
    for name in package.__all__:
        item = getattr(package, name)
        members = vars(item).items() if isinstance(item, type) else ()
        methods = [m for key, m in members if inspect.isfunction(m) and (key == "__init__" or not key.startswith("_"))]
        for function in [item, *methods] if callable(item) else []:
            assert isinstance(get_type_hints(function), dict)
    assert get_type_hints(paddle_hrfamily.load_weights)["return"].__name__ == "Report"


def test_the_list_holds_every_variant_of_both_families() -> None:
    uhrnets = ["uhrnet_w18_small", "uhrnet_w18", "uhrnet_w48"]
    assert [name for name in list_models("uhrnet_*") if name in uhrnets] == uhrnets
    for suffix in ("", "_ocr"):
        assert {f"{name}{suffix}" for name in (*uhrnets, "hrnet_w18_small_v1", "hrnet_w64")} <= set(list_models())
    assert not list_models("vgg*")


def test_an_option_that_a_network_does_not_have_is_an_error() -> None:
    with pytest.raises(UserError, match="hrnet_w18_ocr has no option auxiliary; it takes align_corners, batch"):
        create_model("hrnet_w18_ocr", auxiliary=True)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no model 'uhrnet_48'; did you mean uhrnet_w48"):
        create_model("uhrnet_48")


def test_evaluation_returns_the_main_output_alone() -> None:
    model = create_model("hrnet_w18_small_v1", num_classes=4, auxiliary=True)
    model.train()
    assert len(model(paddle.zeros([2, 3, 64, 64]))) == 2
    model.eval()
    assert [x.shape for x in model(paddle.zeros([2, 3, 64, 64]))] == [[2, 4, 64, 64]]


def test_a_pretrained_file_fills_backbone_and_head(
    parity: Parity, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    caplog.set_level("INFO", "paddle_hrfamily")
    file = str(parity.checkpoint("hrnet_w18_small_v1_training.pth.tar"))
    same, other = (create_model("hrnet_w18_small_v1", num_classes=n, pretrained=file) for n in (19, 5))
    assert "363 of 363 tensors matched" in caplog.text and not capsys.readouterr().out
    plain = parity.checkpoint("hrnet_w18_small_v1_cityscapes.pth")  # the same tensors under the official names
    published = {OFFICIAL.rename(key): value for key, value in read(plain).items()}
    for name, tensor in same.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), published[name])
    for name, tensor in other.backbone.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), published[f"backbone.{name}"])


def test_a_published_name_chooses_the_padding(monkeypatch) -> None:
    monkeypatch.setattr(variants, "load_weights", lambda model, source, part: source)
    assert create_model("hrnet_w18", pretrained="cityscapes_paddleseg_ocr").backbone.padding == "same"
    assert create_model("hrnet_w18", pretrained="imagenet").backbone.padding == "symmetric"
    with pytest.raises(UserError, match="no weights 'cityscape' are published for UHRNet W48; there are .*imagenet"):
        create_model("uhrnet_w48", pretrained="cityscape")


def test_a_name_counts_as_its_own_paper_does(capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "ddrnet_23_slim*"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"ddrnet_23_slim +DDRSeg, DDRNet 23_slim +5\.696 +36\.303  1024x2048  5\.7 \(-0\.1%\), 36\.3 ", said
    )
    assert re.search(r"ddrnet_23_slim_cls .* 7\.575 +0\.978  224x224", said)
    assert "additions of biases" in said and "with batch norms" in said


def test_the_network_that_its_paper_does_not_define_says_how_far_off_it_is(capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "ddrnet_39_1_5x"]) == 0
    assert re.search(r"70\.971 +308\.347  1024x1024  70\.2 \(\+1\.1%\), 303 \(\+1\.8%\)", capsys.readouterr().out)
    assert main(["list", "ddrnet_39_1_5x", "--size", "512", "512"]) == 0
    assert "70.2" not in capsys.readouterr().out
    families = [model.family for model in MODELS.values() if model.family]
    assert all(set(family.published) <= set(entries()) for family in families)
    assert sum(entry.published is not None for entry in entries().values()) == 29


def test_the_list_of_all_is_there_at_once(capsys: pytest.CaptureFixture) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list_models()
    assert main(["list", "ddrnett"]) == 2
    assert "did you mean ddrnet" in capsys.readouterr().err


def test_what_a_user_asks_for_goes_before_what_the_name_stands_for() -> None:
    assert create_model("ddrnet_23_slim").head.auxiliary is None
    assert create_model("ddrnet_23_slim", auxiliary=True).head.auxiliary is not None
