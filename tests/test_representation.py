"""HRNet's ablations: where its streams exchange (table 12), and what its output is made of (figure 10a)."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_hrfamily.backbones import HRNet
from paddle_hrfamily.complexity import trainable_parameters
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.models import HRNetSeg
from paddle_hrfamily.multires import FusionLayer


@pytest.mark.parametrize(("exchanges", "count"), [("all", 8), ("across", 3), ("final", 1)])
def test_there_are_as_many_fusion_units_as_the_paper_counts(exchanges: str, count: int) -> None:
    with paddle.LazyGuard():
        backbone = HRNet("W18", exchanges=exchanges)
    layers = [layer for layer in backbone.sublayers() if isinstance(layer, FusionLayer)]
    assert len(layers) == count
    last = [module.exchange is not None for stage in backbone.stages for module in list(stage)[-1:]]
    assert last == [exchanges != "final", exchanges != "final", True]


def test_without_exchanges_streams_do_not_meet_before_the_end() -> None:
    """The finest stream of stage 3 sees the stem alone; the representation sees all streams."""
    paddle.seed(0)
    backbone = HRNet("W18_Small_V1", exchanges="final")
    backbone.eval()
    streams: list[dict[int, paddle.Tensor]] = []
    backbone.stages[1].register_forward_post_hook(lambda layer, inputs, out: streams.append(out))
    finest = [parameter for name, parameter in backbone.named_parameters() if ".branches.4." in name]
    coarser = [parameter for name, parameter in backbone.named_parameters() if ".branches.8." in name]
    feats = backbone(paddle.randn([1, 3, 32, 32]))
    streams[0][4].sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in coarser if parameter.trainable)
    assert any(parameter.grad is not None for parameter in finest)
    feats[0].sum().backward()
    assert any(parameter.grad is not None for parameter in coarser)


def test_v1_v1h_and_v2() -> None:
    """Channels before and behind the mixing convolution: C to C, C to 15C, 15C to 15C."""
    widths = {}
    for name, alone, widen in (("V1", True, 1), ("V1h", True, 15), ("V2", False, 1)):
        model = HRNetSeg(HRNet("W18_Small_V1", finest_alone=alone), 5, widen=widen)
        widths[name] = (model.head.mix.conv.weight.shape[:2], model.head.classify.weight.shape[:2])
        model.train()
        model(paddle.randn([2, 3, 32, 32]))[0].sum().backward()
        assert all(p.grad is not None for p in model.parameters() if p.trainable), name
    assert widths == {"V1": ([16, 16], [5, 16]), "V1h": ([240, 16], [5, 240]), "V2": ([240, 240], [5, 240])}


def test_a_switch_that_there_is_not() -> None:
    with pytest.raises(UserError, match="no exchanges of HRNet 'accross'; did you mean across"):
        HRNet("W18", exchanges="accross")


def test_the_default_is_the_paper_s_network() -> None:
    with paddle.LazyGuard():
        assert trainable_parameters(HRNet("W48", exchanges="all")) == trainable_parameters(HRNet("W48"))
    assert np.isclose(trainable_parameters(HRNet("W18_Small_V1")), 1.4785e6, rtol=0.01)
