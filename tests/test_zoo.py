"""The public names."""

from __future__ import annotations

import paddle
import pytest

import paddle_hrfamily
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.zoo import create_model, list_models


def test_every_public_name_is_there() -> None:
    assert set(paddle_hrfamily.__all__) == {"__version__", "create_model", "list_models", "load_weights", "UserError"}
    assert all(getattr(paddle_hrfamily, name) is not None for name in paddle_hrfamily.__all__)
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = paddle_hrfamily.create_modle


def test_the_list_holds_every_variant_of_both_families() -> None:
    assert len(list_models()) == 13
    assert list_models("uhrnet_*") == ["uhrnet_w18_small", "uhrnet_w18", "uhrnet_w48"]
    assert "hrnet_w64" in list_models("hrnet_*") and not list_models("resnet*")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no model 'uhrnet_48'; did you mean uhrnet_w48"):
        create_model("uhrnet_48")


def test_evaluation_returns_the_main_output_alone() -> None:
    model = create_model("hrnet_w18_small_v1", num_classes=4, auxiliary=True)
    model.train()
    assert len(model(paddle.zeros([2, 3, 64, 64]))) == 2
    model.eval()
    assert [x.shape for x in model(paddle.zeros([2, 3, 64, 64]))] == [[2, 4, 64, 64]]
