"""Every layout that has a name, in full size: each tensor of the release has its place, and each place its tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_hrfamily.weights import load_weights, loading
from paddle_hrfamily.weights.files import Contents
from paddle_hrfamily.weights.loading import Report
from paddle_hrfamily.weights.needs import rescaled
from paddle_hrfamily.weights.published import CatalogueEntry, catalogue
from paddle_hrfamily.zoo import create_model
from tests import released

# Of each file, tensors whose place was found by reading both codes: the release's name, ours.
OFFICIAL = {
    "conv2.weight": "backbone.stem.conv2.conv.weight",
    "layer1.0.downsample.1.running_var": "backbone.stem.blocks.0.downsample.bn._variance",
    "transition1.1.0.0.weight": "backbone.transitions.0.paths.8.conv.weight",
    "stage3.0.fuse_layers.0.2.0.weight": "backbone.stages.1.0.exchange.paths.16_to_4.conv.weight",
    "stage4.1.branches.3.1.conv2.weight": "backbone.stages.2.1.branches.32.1.conv2.conv.weight",
    "stage4.1.fuse_layers.3.0.2.1.bias": "backbone.stages.2.1.exchange.paths.4_to_32.2.bn.bias",
}
OFFICIAL_SMALL = {key: ours for key, ours in OFFICIAL.items() if not key.startswith("stage4")}
OCR = {"query": "f_pixel", "key": "f_object"}
PADDLESEG = {
    "conv_layer1_2._conv.weight": "backbone.stem.conv2.conv.weight",
    "la1.bb_layer2_1.conv_down._batch_norm._variance": "backbone.stem.blocks.0.downsample.bn._variance",
    "tr1.transition_tr1_layer_2._conv.weight": "backbone.transitions.0.paths.8.conv.weight",
}
MMSEG_DDRNET = {
    "stem.1.conv.weight": "backbone.stem.conv2.conv.weight",
    "stem.4.0.downsample.1.running_mean": "backbone.stem.blocks3.0.downsample.bn._mean",
    "context_branch_layers.1.1.conv2.conv.weight": "backbone.conv5.low.1.conv2.conv.weight",
    "spatial_branch_layers.2.0.conv3.bn.weight": "backbone.high_end.conv3.bn.weight",
    "down_2.1.conv.weight": "backbone.conv5.high_to_low.1.conv.weight",
    "compression_1.conv.weight": "backbone.conv4.0.low_to_high.conv.weight",
}


def _prefixed(prefix: str, pairs: Mapping[str, str]) -> dict[str, str]:
    return {prefix + key: ours for key, ours in pairs.items()}


PLACES: dict[str, dict[str, str]] = {
    "hrnet": {
        **_prefixed("model.", OFFICIAL),
        "model.last_layer.0.bias": "head.mix.conv.bias",
        "model.last_layer.3.weight": "head.classify.weight",
    },
    "hrnet_ocr": {
        **_prefixed("model.", OFFICIAL),
        **{
            f"model.ocr_distri_head.object_context_block.{theirs}.2.weight": f"head.attention.{ours}.1.conv.weight"
            for ours, theirs in OCR.items()
        },
        "model.ocr_distri_head.conv_bn_dropout.1.0.running_mean": "head.augment.bn._mean",
        "model.conv3x3_ocr.0.bias": "head.pixels.conv.bias",
        "model.aux_head.3.bias": "head.regions.1.bias",
        "model.cls_head.weight": "head.classifier.weight",
    },
    "imagenet": OFFICIAL_SMALL,
    "mmseg_hrnet": {
        **_prefixed("backbone.", OFFICIAL),
        "decode_head.convs.0.bn.bias": "head.mix.bn.bias",
        "decode_head.conv_seg.weight": "head.classify.weight",
    },
    "mmseg_hrnet_ocr": {
        **_prefixed("backbone.", OFFICIAL),
        "decode_head.0.convs.0.conv.weight": "head.regions.0.conv.weight",
        "decode_head.1.object_context_block.key_project.1.bn.weight": "head.attention.key.1.bn.weight",
        "decode_head.1.object_context_block.bottleneck.conv.weight": "head.augment.conv.weight",
        "decode_head.1.bottleneck.bn.running_var": "head.pixels.bn._variance",
        "decode_head.1.conv_seg.bias": "head.classifier.bias",
    },
    "mmseg_ddrnet": {
        **_prefixed("backbone.", MMSEG_DDRNET),
        "backbone.spp.scales.4.1.conv.weight": "backbone.context.scales.3.conv.weight",
        "decode_head.aux_cls_seg.weight": "head.auxiliary.classify.weight",
        "decode_head.head.0.bn.bias": "head.mix.bn.bias",
    },
    "imagenet_mmseg_ddrnet": MMSEG_DDRNET,
    "paddleseg_hrnet": {**_prefixed("backbone.", PADDLESEG), "head.cls.weight": "head.classify.weight"},
    "paddleseg_hrnet_ocr": {
        **_prefixed("backbone.", PADDLESEG),
        "head.spatial_ocr.attention_block.f_down._conv.weight": "head.attention.value.conv.weight",
        "head.aux_head.1.weight": "head.regions.1.weight",
    },
    "paddleseg_imagenet_hrnet": PADDLESEG,
    "paddleseg_uhrnet": {**_prefixed("backbone.", PADDLESEG), "head.conv_1._batch_norm.bias": "head.mix.bn.bias"},
    "paddleseg_imagenet_uhrnet": PADDLESEG,
    "paddleseg_ddrnet": {
        "conv1.1._conv.weight": "backbone.stem.conv2.conv.weight",
        "layer4_.1.conv_bn._conv.weight": "backbone.conv5.high.1.conv2.conv.weight",
        "spp.process2.2.weight": "backbone.context.mixes.1.conv.weight",
        "head.conv.weight": "head.classify.weight",
    },
    "paddleseg_imagenet_ddrnet": {"layer4_.1.conv_bn._conv.weight": "backbone.conv5.high.1.conv2.conv.weight"},
}
# Tensors of a release that no network here takes, and of ours that no such release has.
LEFT_OUT = {
    "imagenet": r"(incre_modules|downsamp_modules|final_layer|classifier)\.",  # the classification head
    "paddleseg_uhrnet": r"backbone\.last_layer\.",  # which nothing calls
    "paddleseg_imagenet_uhrnet": r"last_layer\.",
}
BEGINS_ANEW = {"imagenet_mmseg_ddrnet": r"context\.", "paddleseg_imagenet_ddrnet": r"context\."}


@cache
def every() -> dict[str, CatalogueEntry]:
    """One of the published weights for each file of names, which is called after its publisher and network."""
    found: dict[str, CatalogueEntry] = {}
    for entry in catalogue():
        if not entry.network.startswith("resnet"):  # tests/test_resnet.py
            found.setdefault(file_of(entry), entry)
    return found


def file_of(entry: CatalogueEntry) -> str:
    by, network = entry.weights.publisher, entry.network
    if by == "PaddleSeg":
        return f"paddleseg_{network}" if entry.whole else f"paddleseg_imagenet_{network}"
    if "mmsegmentation" in by:
        return f"mmseg_{network}" if entry.whole else f"imagenet_mmseg_{network}"
    return network if entry.whole else network.replace("hrnet", "imagenet")


def kind(file: str) -> str:
    """The file's name without the variant: what PLACES knows it by."""
    return re.sub(r"_(w\d+|23)(_small_v\d|_small|_slim)?(?=_|$)", "", file)


class Place:
    """A tensor of a network that has shapes and no memory: it keeps what it is given."""

    def __init__(self, tensor: paddle.Tensor) -> None:
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype
        self.given: float | None = None

    def set_value(self, value: np.ndarray) -> None:
        assert value.shape == self.shape
        self.given = float(value.flat[0]) if value.size else 0.0


def load(entry: CatalogueEntry, file: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Report, dict[str, Place]]:
    """Load the release into the network that it is for, a whole one or a backbone, both without memory for values."""
    weights = entry.weights
    classes = weights.data.num_classes if entry.whole and weights.data else released.CLASSES
    options = {"num_classes": classes, "padding": weights.padding, "align_corners": weights.align_corners}
    with paddle.LazyGuard():
        model = create_model(entry.network, **options, **({"auxiliary": True} if "mmseg_ddrnet" in file else {}))
    part = model if entry.whole else model.backbone
    places = {name: Place(tensor) for name, tensor in part.state_dict().items()}
    object.__setattr__(part, "state_dict", lambda: places)
    arrays = released.checkpoint(file, classes, counters=not weights.in_place_abn)
    monkeypatch.setattr(loading, "fetch", lambda source, sha256: Path(file))
    monkeypatch.setattr(loading, "open_weights", lambda path: Contents(arrays))
    monkeypatch.setattr(loading, "_as_type", lambda array, tensor: array)
    return load_weights(part, weights.source), places


def test_each_published_layout_has_a_file_and_each_file_is_published() -> None:
    assert set(every()) == {path.stem for path in released.FILES.glob("*.txt")}
    assert {kind(file) for file in every()} == set(PLACES)


@pytest.mark.parametrize("file", sorted(path.stem for path in released.FILES.glob("*.txt")))
def test_a_release_is_loaded_whole(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = every()[file]
    report, places = load(entry, file, monkeypatch)
    counters = [key for key in report.dropped if key.endswith("num_batches_tracked")]
    assert report.missing == report.mismatched == report.training_only == []
    left_out = report.unexpected + [key for key in report.dropped if key not in counters]
    pattern = LEFT_OUT.get(kind(file))
    assert bool(left_out) == bool(pattern) and all(re.match(pattern or "$", key) for key in left_out), left_out
    anew = BEGINS_ANEW.get(kind(file))
    assert bool(report.fresh) == bool(anew) and all(re.match(anew or "$", name) for name in report.fresh)
    given = {name: place.given for name, place in places.items() if name not in report.fresh}
    values = [value for value in given.values() if value]  # zero is a bias that the release's network does without
    assert None not in given.values()
    assert len(set(values)) >= len(values) - len(report.folded)  # means less a bias may coincide with another value
    arrays = released.checkpoint(file, counters=not entry.weights.in_place_abn)
    assert len(values) + len(report.folded) + len(left_out) + len(counters) == len(arrays)
    assert any(name.startswith("head.") for name in given) == entry.whole
    for theirs, ours in PLACES[kind(file)].items():
        name = ours if entry.whole else ours[len("backbone.") :]
        assert places[name].given == arrays[theirs].flat[0], (theirs, ours)


def test_in_place_abn_scales_by_the_magnitude() -> None:
    """As lib/models/sync_bn/inplace_abn/src/inplace_abn_cuda.cu of the official repository computes it."""
    norm = {"weight": np.array([-0.5, 0.0, 2.0], "f4"), "bias": np.array([-1.0, 1, 2], "f4"),
            "running_mean": np.zeros(3, "f4"), "running_var": np.ones(3, "f4")}  # fmt: skip
    arrays = {f"bn1.{key}": value for key, value in norm.items()} | {"conv1.weight": np.full((3, 3, 1, 1), -1.0, "f4")}
    by_names = {name: entry.weights for entry in catalogue() if entry.network == "hrnet_w48" for name in entry.names}
    scaled = rescaled(Contents(arrays), by_names["lip"]).arrays
    np.testing.assert_allclose(scaled["bn1.weight"], [0.50001, 0.00001, 2.00001], rtol=1e-6)
    assert scaled["bn1.weight"].dtype == np.float32
    assert all(scaled[key] is arrays[key] for key in arrays if key != "bn1.weight")
    assert rescaled(Contents(arrays), by_names["cityscapes"]).arrays is arrays
    torch04 = {e.weights.source.rpartition("/")[2] for e in catalogue() if e.weights.in_place_abn}
    assert len(torch04) == 6 and all(file.endswith("torch04.pth") for file in torch04)
