"""`hrfamily export --fast`: the rewritten network is the network, whatever it is made of, or nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.base.proto.framework_pb2 import ProgramDesc
from paddle.nn import functional as F

from paddle_hrfamily import layers, multires
from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.export.fast import channel_pooling, from_images, interpolation
from paddle_hrfamily.export.fast.from_images import FromImages
from paddle_hrfamily.models import HRDepth, HRNetSeg, OCRSeg
from paddle_hrfamily.zoo import create_model
from tests import tiny
from tests.fast_forms import MEAN, STD, Streams, normalised, pictures, settled

pytestmark = pytest.mark.line
# The family with its heads -> what takes the head's place.
FAMILY = {
    "hrnet_w18_small_v1": "StreamwiseHead",
    "uhrnet_w18_small": "StreamwiseHead",
    "fusion A": "StreamwiseHead",
    "uhrnet_w18_small_depth": "StreamwiseHead",
    "hrnet_w18_small_v2_ocr": "ReorderedOCRHead",
    "uhrnet_w18_small_ocr": "ReorderedOCRHead",
    "hrnet_w18_small_v1_specialize_fuse": "SpecializeFuseHead",
    "ddrnet_23_slim": "DDRHead",
    "spgnet_r18": "NoneType",
}
SIZES = ((64, 96), (49, 65))
MINIATURES = {
    "streams": lambda **options: HRNetSeg(Streams(), 5, **options),
    "pooled streams": lambda **options: HRNetSeg(Streams(channel_pool=True), 5, **options),
    "ocr": lambda **options: OCRSeg(Streams(), 5, channels=16, key_channels=8, **options),
    "pooled ocr": lambda **options: OCRSeg(Streams(channel_pool=True), 5, channels=16, key_channels=8, **options),
    "depth": lambda **options: HRDepth(Streams(), **options),
}


@pytest.fixture(scope="module")
def family() -> Callable[[str], paddle.nn.Layer]:
    """A settled network by its name, made once."""
    made = {}

    def get(name: str) -> paddle.nn.Layer:
        if name not in made:
            paddle.seed(3)
            fusion_a = name == "fusion A"
            made[name] = settled(HRNetSeg(UHRNet(fusion="A"), 5) if fusion_a else create_model(name))
        return made[name]

    return get


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_graph, "OPEN_SIZES", SIZES)


def miniature(name: str, **options: object) -> paddle.nn.Layer:
    paddle.seed(3)
    return settled(MINIATURES[name](**options))


def answer(layer: paddle.nn.Layer, x: paddle.Tensor | np.ndarray) -> np.ndarray:
    """Of evaluation, the first where there are several."""
    with paddle.no_grad():
        found = layer(paddle.to_tensor(x))
    return (found[0] if isinstance(found, list) else found).numpy()


def assert_near(found: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> None:
    """Within that share of the greatest value, where values differ at all."""
    assert found.shape == expected.shape and expected.std() > 1e-3
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize(("name", "head"), FAMILY.items())
@pytest.mark.parametrize(("batch", "size"), [(1, SIZES[0]), (3, SIZES[1]), (1, (33, 40))])
def test_the_fast_form_is_the_network(family, name: str, head: str, batch: int, size: tuple[int, int]) -> None:
    model, picture = family(name), pictures(batch, *size)
    fast = FromImages(model, MEAN, STD)
    fast.eval()
    assert type(getattr(fast.model, "head", None)).__name__ == head and fast.native
    image = normalised(picture)
    native = paddle.to_tensor(answer(fast, picture))
    assert native.shape[2] < size[0] / 2
    assert_near(layers.resize_as(native, image).numpy(), answer(model, image))


@pytest.mark.parametrize("name", ["uhrnet_w18_small", "hrnet_w18_small_v1_specialize_fuse", "ddrnet_23_slim"])
def test_the_family_is_written_as_it_is(family, small, tmp_path: Path, name: str) -> None:
    compared = from_images.save(family(name), [-1, 3, -1, -1], MEAN, STD, "uint8", tmp_path / "model")
    assert compared == ["64x96", "49x65"]
    picture = pictures(3, 40, 72)
    run = static_graph.load(tmp_path / "model")
    assert_near(run(picture), family(name).native_logits(normalised(picture))[0].numpy(), 1e-3)


SHAPES = [(name, [-1, 3, -1, -1]) for name in MINIATURES] + [(name, [1, 3, 49, 96]) for name in MINIATURES]


@pytest.mark.parametrize(("name", "shape"), [*SHAPES, ("pooled streams", [2, 3, 49, -1]), ("ocr", [3, 3, -1, 65])])
def test_every_shape_is_written(small, tmp_path: Path, name: str, shape: list[int]) -> None:
    model, dtype = miniature(name), "float32" if shape[0] == 1 else "uint8"
    compared = from_images.save(model, shape, MEAN, STD, dtype, tmp_path / "model")
    assert len(compared) == (2 if -1 in shape[2:] else 1)
    run = static_graph.load(tmp_path / "model")
    picture = pictures(max(1, shape[0]), *(extent if extent > 0 else 57 for extent in shape[2:]))
    assert_near(run(picture.astype(dtype)), model.native_logits(normalised(picture))[0].numpy(), 1e-3)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5]), ([0.1, 0.5, 0.9], [0.2]), ([0.3], [1.5, 0.4, 0.1])])
def test_one_mean_and_deviation_for_all_channels(mean: list[float], std: list[float]) -> None:
    model, picture = miniature("streams"), pictures(2, 40, 48)
    fast = FromImages(model, mean, std)
    fast.eval()
    assert_near(answer(fast, picture), model.native_logits(normalised(picture, mean, std))[0].numpy())


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(small, tmp_path: Path, channels: int) -> None:
    paddle.seed(3)
    model = settled(HRNetSeg(Streams(channels), 5), channels)
    from_images.save(model, [-1, channels, -1, -1], [0.4], [0.3], "uint8", tmp_path / "model")
    picture = pictures(2, 40, 48, channels)
    expected = model.native_logits(normalised(picture, [0.4], [0.3]))[0].numpy()
    assert_near(static_graph.load(tmp_path / "model")(picture), expected, 1e-3)


@pytest.mark.parametrize("name", ["pooled streams", "pooled ocr"])
def test_the_network_stays_as_it_was(small, tmp_path: Path, name: str) -> None:
    """It is exported twice, and then trained on."""
    model, image = miniature(name), normalised(pictures(2, 49, 65))
    head, before, expected = (
        model.head,
        {key: value.numpy() for key, value in model.state_dict().items()},
        answer(model, image),
    )
    for index in range(2):
        from_images.save(model, [-1, 3, -1, -1], MEAN, STD, "uint8", tmp_path / str(index))
    assert model.head is head and list(model.state_dict()) == list(before)
    assert all((value.numpy() == before[key]).all() for key, value in model.state_dict().items())
    np.testing.assert_array_equal(answer(model, image), expected)
    files = [(tmp_path / f"{index}.pdiparams").read_bytes() for index in range(2)]
    assert files[0] == files[1]
    model.train()
    logits = model(image)
    assert len(logits) == (2 if name == "pooled ocr" else 1)
    logits[0].mean().backward()
    assert all(p.grad is not None for p in head.parameters() if p.trainable and "regions.1" not in p.name)
    assert type(FromImages(model, MEAN, STD).model.head) is not type(head)


def test_layers_made_after_an_export_have_names_of_their_own(tmp_path: Path) -> None:
    """A graph tells weights apart by their names."""
    before = paddle.nn.Conv2D(3, 4, 1)
    static_graph.write(before, [paddle.static.InputSpec([-1, 3, 8, 8], "float32", name="x")], tmp_path / "model")
    both = paddle.nn.Sequential(before, paddle.nn.Conv2D(4, 5, 1))
    assert len({p.name for p in both.parameters()}) == 4


def paddleseg_backbone() -> paddle.nn.Layer:
    from paddleseg.models.backbones import MobileNetV2_x0_5

    return MobileNetV2_x0_5()


def test_a_backbone_of_paddleseg_keeps_its_head(small, tmp_path: Path) -> None:
    """Nothing says at which strides its features are."""
    paddle.seed(3)
    model, picture = settled(HRNetSeg(paddleseg_backbone(), 5)), pictures(1, 49, 65)
    assert from_images.rewritten(model) is model
    from_images.save(model, [-1, 3, -1, -1], MEAN, STD, "uint8", tmp_path / "model")
    expected = model.native_logits(normalised(picture))[0].numpy()
    assert_near(static_graph.load(tmp_path / "model")(picture), expected, 1e-3)


@pytest.mark.parametrize(
    ("network", "head"), [(HRNetSeg, "HRNetV2Head"), (partial(OCRSeg, channels=16, key_channels=8), "ReorderedOCRHead")]
)
def test_streams_that_are_concatenated_already(network: Callable, head: str) -> None:
    paddle.seed(3)
    model, picture = settled(network(HRNet("W18_Small_V1", concat=True), 5)), pictures(1, 49, 65)
    fast = FromImages(model, MEAN, STD)
    fast.eval()
    assert type(fast.model.head).__name__ == head
    assert_near(answer(fast, picture), model.native_logits(normalised(picture))[0].numpy())


@pytest.mark.parametrize("name", ["streams", "ocr"])
def test_corners_that_are_aligned_stay_at_the_size_of_the_image(small, tmp_path: Path, name: str) -> None:
    model, picture = miniature(name, align_corners=True), pictures(2, 49, 65)
    from_images.save(model, [-1, 3, -1, -1], MEAN, STD, "uint8", tmp_path / "model")
    found = static_graph.load(tmp_path / "model")(picture)
    assert found.shape == (2, 5, 49, 65)
    assert_near(found, answer(model, normalised(picture)), 1e-3)


@pytest.mark.parametrize(("name", "classes"), [("streams", 5), ("streams", 300), ("ocr", 5)])
def test_labels_are_the_networks(small, tmp_path: Path, name: str, classes: int) -> None:
    paddle.seed(3)
    model = settled(HRNetSeg(Streams(), classes) if name == "streams" else miniature(name))
    from_images.save(model, [-1, 3, -1, -1], MEAN, STD, "uint8", tmp_path / "model", labels=True)
    picture = pictures(2, 57, 64)
    labels = static_graph.load(tmp_path / "model")(picture)
    assert labels.dtype == (np.uint8 if classes <= 256 else np.int32)
    assert (labels == answer(model, normalised(picture)).argmax(axis=1)).mean() > 0.999


def louder(head: paddle.nn.Layer) -> None:
    head.mix_coarse[0].weight.set_value(1.05 * head.mix_coarse[0].weight)


def turned(head: paddle.nn.Layer) -> None:
    head.mix_coarse[1].weight.set_value(paddle.roll(head.mix_coarse[1].weight, 1, axis=0))


def unbiased(head: paddle.nn.Layer) -> None:
    head.mix_fine.bias.set_value(paddle.zeros_like(head.mix_fine.bias))


def swapped(head: paddle.nn.Layer) -> None:
    context, pixels = head.augment_context.weight, head.augment_pixels.weight
    first, second = context.numpy(), pixels.numpy()
    context.set_value(second), pixels.set_value(first)


def unscaled(head: paddle.nn.Layer) -> None:
    head.scale = 1.0


FAULTS = [("streams", louder), ("pooled streams", turned), ("streams", unbiased), ("ocr", swapped), ("ocr", unscaled)]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_faulty_rewrite_is_seen(monkeypatch, small, tmp_path: Path, name: str, fault: Callable) -> None:
    right = from_images.rewritten

    def wrong(model: paddle.nn.Layer) -> paddle.nn.Layer:
        twin = right(model)
        fault(twin.head)
        return twin

    monkeypatch.setattr(from_images, "rewritten", wrong)
    with pytest.raises(UserError, match="differs from the network.*nothing was written"):
        from_images.save(miniature(name), [-1, 3, -1, -1], MEAN, STD, "uint8", tmp_path / "model")


EXTENTS = st.integers(1, 40)
TARGETS = st.integers(2, 40)  # of a single pixel, Paddle takes the first there is, whatever the size
MAPS = st.lists(st.tuples(EXTENTS, EXTENTS), min_size=1, max_size=3)


def interpolated(x: paddle.Tensor, size: tuple[int, int]) -> np.ndarray:
    return F.interpolate(x, size, mode="bilinear").numpy()


@settings(deadline=None, max_examples=60)
@given(TARGETS, st.lists(EXTENTS, min_size=1, max_size=3))
def test_weights_interpolate(target: int, sources: list[int]) -> None:
    rows = [paddle.eye(source).reshape([1, source, source, 1]) for source in sources]
    expected = np.concatenate([interpolated(x, (target, 1))[0, :, :, 0].T for x in rows], axis=1)
    known = interpolation.weights(target, sources).numpy()
    assert known.shape == (target, sum(sources))
    np.testing.assert_allclose(known, expected, atol=1e-5)
    open_target, *open_sources = (paddle.to_tensor([extent], "int32") for extent in (target, *sources))
    for asked in ((open_target, open_sources), (open_target, sources), (target, open_sources)):
        np.testing.assert_allclose(interpolation.weights(*asked).numpy(), expected, atol=1e-4)


def test_one_pixel_stays_one_pixel() -> None:
    for one in (1, paddle.to_tensor([1], "int32")):
        np.testing.assert_array_equal(interpolation.weights(one, [one, one]).numpy(), [[1, 1]])


def noise(batch: int, channels: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, channels, *size), dtype=np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), MAPS, st.tuples(TARGETS, TARGETS))
def test_maps_of_any_size_are_resized_and_added(batch: int, sizes: list, size: tuple[int, int]) -> None:
    maps = [paddle.to_tensor(noise(batch, 3, each, seed)) for seed, each in enumerate(sizes)]
    expected = sum(interpolated(x, size) for x in maps)
    found = interpolation.resized_sum(maps, paddle.zeros([batch, 1, *size]))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


class Sum(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.one = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(1.0))

    def forward(self, first: paddle.Tensor, second: paddle.Tensor, reference: paddle.Tensor) -> paddle.Tensor:
        return self.one * interpolation.resized_sum([first, second], reference)


@pytest.fixture(scope="module")
def graph_of_sums(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    prefix = tmp_path_factory.mktemp("sums") / "model"
    specs = [paddle.static.InputSpec([-1, 3, -1, -1], "float32", name=name) for name in ("a", "b", "c")]
    static_graph.write(Sum(), specs, prefix)
    return static_graph.load(prefix)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.lists(st.tuples(EXTENTS, EXTENTS), min_size=2, max_size=2), st.tuples(TARGETS, TARGETS))
def test_a_graph_of_open_size_resizes_and_adds(graph_of_sums: Callable, batch: int, sizes: list, size: tuple) -> None:
    first, second, reference = (noise(batch, 3, each, seed) for seed, each in enumerate([*sizes, size]))
    expected = sum(interpolated(paddle.to_tensor(x), size) for x in (first, second))
    np.testing.assert_allclose(graph_of_sums(first, second, reference), expected, atol=1e-3)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 20), st.integers(1, 6))
def test_channel_pairs_are_averaged_by_a_convolution(pairs: int, extent: int) -> None:
    x = paddle.to_tensor(noise(2, 2 * pairs, (extent, 3)))
    expected = multires.halve_channels(x).numpy()
    with channel_pooling.by_convolution():
        np.testing.assert_allclose(multires.halve_channels(x).numpy(), expected, atol=1e-6)
    assert multires.halve_channels is layers.halve_channels


def test_which_export_comes_first_is_all_one(small, tmp_path: Path) -> None:
    """What is patched for a fast export is restored, also in what Paddle keeps of converted code."""

    def operators(prefix: Path) -> list[str]:
        return [op.type for op in ProgramDesc.FromString(prefix.with_suffix(".pdmodel").read_bytes()).blocks[0].ops]

    model, open_shape = miniature("pooled streams"), [-1, 3, -1, -1]
    for index in range(2):
        from_images.save(model, open_shape, MEAN, STD, "uint8", tmp_path / f"fast{index}")
        static_graph.save(model, open_shape, "none", tmp_path / f"plain{index}")
    plain, fast = ([operators(tmp_path / f"{kind}{index}") for index in range(2)] for kind in ("plain", "fast"))
    assert plain[0] == plain[1] and fast[0] == fast[1]
    assert "strided_slice" in plain[0] and "strided_slice" not in fast[0]


SMALL = {"type": "HRNetSeg", "backbone": {"type": "HRNet", "variant": "W18_Small_V1"}, "num_classes": 3}


def exported(folder: Path, *arguments: object, transforms: list | None = None, **changes: object) -> int:
    """The exit status of `hrfamily export --fast` of a config with these transforms in evaluation."""
    changes = {"model": SMALL, **changes}
    if transforms is not None:
        changes["val_dataset"] = {**tiny.content(folder / "data")["val_dataset"], "transforms": transforms}
    config = tiny.config(folder, **changes)
    given = ["--config", config, "--save_dir", folder / "exported", "--fast", *arguments]
    return run_command("export", list(map(str, given)), prog="hrfamily export")


def description(folder: Path) -> dict:
    return yaml.safe_load((folder / "exported" / "deploy.yaml").read_text())["Deploy"]


NORMALIZE = {"type": "Normalize", "mean": MEAN, "std": STD}
RESIZE = {"type": "Resize", "target_size": [64, 96]}


def test_bytes_in_where_nothing_but_normalize_is_done(small, tmp_path: Path, capsys) -> None:
    assert exported(tmp_path, transforms=[NORMALIZE]) == 0
    said = capsys.readouterr().out
    assert "input   uint8 (?, ?, ?, 3), RGB of 0..255" in said
    assert "output  (?, 3, at the network's own stride), float32 logits" in said
    assert "compared at 64x96 and 49x65" in said
    found = description(tmp_path)
    assert {key: found[key] for key in found if not key.startswith("class_")} == {
        "model": "model.pdmodel",
        "params": "model.pdiparams",
        "transforms": [],
        "input_shape": [-1, 3, -1, -1],
        "output_op": "none",
        "output_dtype": "float32",
        "input_layout": "NHWC",
        "input_dtype": "uint8",
        "output_size": "native",
    }
    assert found["class_names"] == list(tiny.CLASSES) and len(found["class_colors"]) == 3
    written = {file.name for file in (tmp_path / "exported").iterdir()}
    assert {"model.pdmodel", "model.pdiparams", "deploy.yaml"} <= written


def test_float32_in_where_images_are_resized_before(tmp_path: Path, capsys) -> None:
    shape = ["--input_shape", 1, 3, 96, 64, "--output_op", "logits"]
    assert exported(tmp_path, *shape, transforms=[RESIZE, {"type": "Normalize"}]) == 0
    said = capsys.readouterr().out
    assert "input   float32 (1, 96, 64, 3), RGB of 0..255" in said and "compared at 96x64" in said
    found = description(tmp_path)
    assert found["transforms"] == [RESIZE] and found["input_dtype"] == "float32"
    run = static_graph.load(tmp_path / "exported" / "model")
    assert run(pictures(1, 96, 64).astype(np.float32)).shape == (1, 3, 24, 16)


def test_labels_of_one_byte(small, tmp_path: Path, capsys) -> None:
    assert exported(tmp_path, "--output_op", "argmax") == 0
    assert "output  (?, ?, ?), uint8 class ids" in capsys.readouterr().out
    found = description(tmp_path)
    assert (found["output_op"], found["output_dtype"], found["output_size"]) == ("argmax", "uint8", "image")
    labels = static_graph.load(tmp_path / "exported" / "model")(pictures(2, 49, 65))
    assert labels.dtype == np.uint8 and labels.shape == (2, 49, 65)


def test_depth_in_metres(tmp_path: Path, capsys) -> None:
    depth = {"model": {**SMALL, "type": "HRDepth", "num_classes": 1}}
    depth["val_dataset"] = {**tiny.content(tmp_path / "data")["val_dataset"], "num_classes": 1}
    depth["train_dataset"] = {**tiny.content(tmp_path / "data")["train_dataset"], "num_classes": 1}
    depth["class_names"] = ["depth"]
    assert exported(tmp_path, "--input_shape", 1, 3, 64, 64, **depth) == 0
    assert "output  (1, 1, at the network's own stride), float32 metres" in capsys.readouterr().out
    assert exported(tmp_path / "labels", "--output_op", "argmax", **depth) == 2
    assert "metres" in capsys.readouterr().err


def test_a_network_of_paddleseg(small, tmp_path: Path, capsys) -> None:
    """It resizes its logits itself, and stays as it is."""
    model = {"type": "FastSCNN", "num_classes": 3}
    assert exported(tmp_path, "--input_shape", 1, 3, 64, 96, model=model) == 0
    assert "output  (1, 3, 64, 96), float32 logits" in capsys.readouterr().out
    assert description(tmp_path)["output_size"] == "image"


@pytest.mark.parametrize(
    ("arguments", "transforms", "words"),
    [
        (["--output_op", "softmax"], [NORMALIZE], ["--output_op softmax", "leave it out"]),
        (["--for_fd"], [NORMALIZE], ["--for_fd", "--fast"]),
        ([], [NORMALIZE, RESIZE], ["--fast", "last", "['Normalize', 'Resize']"]),
        ([], [NORMALIZE, NORMALIZE], ["--fast", "last", "['Normalize', 'Normalize']"]),
        ([], [RESIZE], ["--fast", "last", "['Resize']"]),
        ([], ["Normalize"], ["--fast", "last", "val_dataset.transforms"]),
        (["--input_shape", 1, 4, 64, 64], [NORMALIZE], ["--input_shape 1 4 64 64"]),
    ],
)
def test_what_cannot_be_is_one_line(capsys, tmp_path: Path, arguments: list, transforms: list, words: list) -> None:
    assert exported(tmp_path, *arguments, transforms=transforms) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(word in error for word in words)
    assert not (tmp_path / "exported").exists()


def test_a_config_without_transforms(capsys, tmp_path: Path) -> None:
    for transforms in ([], None):
        dataset = {**tiny.content(tmp_path / "data")["val_dataset"], "transforms": transforms}
        assert exported(tmp_path, val_dataset=dataset) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "transforms" in error and not (tmp_path / "exported").exists()


def test_a_rewrite_that_differs_is_not_written(monkeypatch, capsys, tmp_path: Path) -> None:
    right = from_images.rewritten

    def wrong(model: paddle.nn.Layer) -> paddle.nn.Layer:
        twin = right(model)
        twin.head.mix_fine.bias.set_value(twin.head.mix_fine.bias + 1)
        return twin

    monkeypatch.setattr(from_images, "rewritten", wrong)
    assert exported(tmp_path, "--input_shape", 1, 3, 64, 64) == 2
    assert "differs from the network" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()
