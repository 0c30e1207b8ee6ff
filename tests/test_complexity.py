"""Parameters and multiply-accumulates, against counts of the official code."""

from __future__ import annotations

import functools

import paddle
import pytest
from paddle import nn

from paddle_hrfamily.complexity import Complexity, complexity, trainable_parameters
from paddle_hrfamily.zoo import create_model, find, list_models
from tests.networks import PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_equal_the_official_code_to_the_last_digit(name: str) -> None:
    count = complexity(lambda: create_model(name, num_classes=19), 1024, 2048)
    assert (f"{count.parameters / 1e6:.4f}", f"{count.giga:.3f}") == PUBLISHED[name]


def test_the_uhrnet_paper_counts_its_synapse_network_at_224() -> None:
    count = complexity(lambda: create_model("uhrnet_w48", num_classes=9), 224, 224)
    assert f"{count.giga:.3f}" == "17.020"
    assert f"{count.parameters / 1e6:.3f}" == "181.934"


PLAIN = [name for name in list_models("hrnet_*") if find(name).model == "HRNetSeg"]


@functools.cache
def counted(name: str) -> Complexity:
    return complexity(lambda: create_model(name), 64, 64)


@pytest.mark.parametrize(("narrower", "wider"), list(zip(PLAIN, PLAIN[1:])))
def test_wider_networks_cost_more_than_narrower_ones(narrower: str, wider: str) -> None:
    wide, narrow = counted(wider), counted(narrower)
    assert wide.parameters > narrow.parameters and wide.macs > narrow.macs


def test_papers_differ_in_what_they_count() -> None:
    class Tiny(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 8, 1)
            self.norm = nn.BatchNorm2D(8)

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return nn.functional.interpolate(self.norm(self.conv(x)), [20, 30], mode="bilinear")

    interpolate = nn.functional.interpolate
    count = complexity(Tiny, 10, 15)
    assert (count.biases, count.normalised, count.resized) == (8 * 150, 8 * 150, 8 * 600)
    assert count.billion_with_biases == (count.macs + 1200) / 1e9 and count.billion == count.macs / 1e9
    assert nn.functional.interpolate is interpolate


def test_a_convolution_and_a_linear_layer_counted_by_hand() -> None:
    class Tiny(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 8, 3, stride=2, padding=1, groups=1)
            self.norm = nn.BatchNorm2D(8)
            self.linear = nn.Linear(8, 5)

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return self.linear(self.norm(self.conv(x)).mean(axis=[2, 3]))

    count = complexity(Tiny, 11, 20)
    assert count.macs == 8 * 3 * 9 * (6 * 10) + 8 * 5
    assert count.parameters == (8 * 3 * 9 + 8) + (8 + 8) + (8 * 5 + 5) == trainable_parameters(Tiny())
    assert paddle.in_dynamic_mode()
