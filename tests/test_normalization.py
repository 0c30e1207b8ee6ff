"""Published weights say how images have to be normalised, and a config that does otherwise is refused."""

from __future__ import annotations

import pytest

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, normalization
from paddle_hrfamily.registry import MODELS
from paddle_hrfamily.weights import published

WHOLE = [entry for entry in published.catalogue() if entry.whole]
CONFIGS = {"hrnet_w48": "hrnet_w48_cityscapes", "hrnet_w48_ocr": "hrnet_w48_ocr_cityscapes"} | {
    "uhrnet_w48": "uhrnet_w48_cityscapes",
    "ddrnet_23": "ddrnet_23_cityscapes",
}


def weights(network: str, name: str) -> published.Published:
    return next(entry.weights for entry in WHOLE if entry.network == network and name in entry.names)


def test_every_whole_network_says_it() -> None:
    assert {entry.weights.pixels for entry in WHOLE} == {"imagenet", "half"}
    assert all((entry.weights.pixels == "half") == (entry.weights.publisher == "PaddleSeg") for entry in WHOLE)
    assert MODELS


@pytest.mark.parametrize("network", CONFIGS)
def test_the_configs_fit_the_weights_that_bare_names_mean(network: str) -> None:
    config = config_file.load(f"{CONFIGS[network]}.yml").dic
    normalization.check(config, weights(network, "cityscapes"), "cityscapes")


@pytest.mark.parametrize("network", ["hrnet_w48", "hrnet_w48_ocr", "ddrnet_23"])
def test_other_pixels_are_an_error_that_says_what_to_write(network: str) -> None:
    config = config_file.load(f"{CONFIGS[network]}.yml").dic
    message = r"cityscapes_paddleseg: these weights expect images normalised with mean \[0\.5, 0\.5, 0\.5\]"
    with pytest.raises(UserError, match=message):
        normalization.check(config, weights(network, "cityscapes_paddleseg"), "cityscapes_paddleseg")


def test_paddlesegs_default_is_understood() -> None:
    config = {"val_dataset": {"transforms": [{"type": "Normalize"}]}}
    normalization.check(config, weights("hrnet_w48", "cityscapes_paddleseg"), "x")
    with pytest.raises(UserError, match=r"val_dataset's Normalize has \[0\.5, 0\.5, 0\.5\]"):
        normalization.check(config, weights("hrnet_w48", "cityscapes"), "x")
