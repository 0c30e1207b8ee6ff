"""Published protocols: the inference against an independent one, what configs say, and `hrfamily val --protocol`."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddleseg import core
from paddleseg.core import infer
from paddleseg.transforms import Normalize, Resize

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.inference import protocol as module
from paddle_hrfamily.inference.prediction import mirrored_classes
from paddle_hrfamily.inference.protocol import Protocol
from paddle_hrfamily.integration import config_file, registration
from tests import tiny

pytestmark = pytest.mark.line

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
K = 4
NORMALIZE = Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


class Neighbours(paddle.nn.Layer):
    """Logits by the 3×3 around a pixel, zeros beyond the image: windows and padding change what is near their edges."""

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        paddle.seed(5)
        self.conv = paddle.nn.Conv2D(3, K, 3, padding=1)
        self.align_corners = align_corners
        self.sizes: list[tuple[int, int]] = []

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        self.sizes.append(tuple(image.shape[2:]))
        return [self.conv(image)]


# An independent account of the official repository's lib/datasets/base_dataset.py and cityscapes.py, in numpy and cv2,
# on (H, W, C) arrays.


def resized(maps: np.ndarray, height: int, width: int, align_corners: bool = False) -> np.ndarray:
    if not align_corners:
        return np.stack([cv2.resize(m, (width, height)) for m in maps.transpose(2, 0, 1)], 2)
    for axis, new in ((0, height), (1, width)):  # corners on corners: linear between equally spaced points
        old = maps.shape[axis]
        maps = np.apply_along_axis(
            lambda v, o=old, n=new: np.interp(np.linspace(0, o - 1, n), np.arange(o), v), axis, maps
        )
    return maps


def exp_of(model: Neighbours, image: np.ndarray, flip: bool) -> np.ndarray:
    def logits(x: np.ndarray) -> np.ndarray:
        return model(paddle.to_tensor(x.transpose(2, 0, 1)[None].astype("float32")))[0].numpy()[0].transpose(1, 2, 0)

    out = logits(image)
    return np.exp((out + logits(image[:, ::-1])[:, ::-1]) / 2 if flip else out)


def official(
    model: Neighbours, image: np.ndarray, scales: list[float], flip: bool, base: int, crop: int, step: int, pad: bool
) -> np.ndarray:
    """The sum over scales, with the long side at base·scale and square windows."""
    black = -np.array([0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225])

    def padded(x: np.ndarray) -> np.ndarray:
        whole = np.tile(black, (max(crop, x.shape[0]), max(crop, x.shape[1]), 1))
        whole[: x.shape[0], : x.shape[1]] = x
        return whole

    total = 0
    for scale in scales:
        long_side = int(base * scale + 0.5)
        height, width = (int(side * long_side / max(image.shape[:2]) + 0.5) for side in image.shape[:2])
        scaled = resized(image, height, width)
        if max(height, width) <= crop:
            out = exp_of(model, padded(scaled) if pad else scaled, flip)[:height, :width]
        else:
            canvas = padded(scaled) if pad else scaled
            sums, count = np.zeros((*canvas.shape[:2], K)), np.zeros((*canvas.shape[:2], 1))
            for row in range(math.ceil((canvas.shape[0] - crop) / step) + 1):
                for column in range(math.ceil((canvas.shape[1] - crop) / step) + 1):
                    bottom = min(row * step + crop, canvas.shape[0])
                    right = min(column * step + crop, canvas.shape[1])
                    top, left = (row * step, column * step) if pad else (max(bottom - crop, 0), max(right - crop, 0))
                    window = canvas[top:bottom, left:right]
                    out = exp_of(model, padded(window) if pad else window, flip)
                    sums[top:bottom, left:right] += out[: bottom - top, : right - left]
                    count[top:bottom, left:right] += 1
            out = (sums / count)[:height, :width]
        total = total + resized(out, *image.shape[:2], model.align_corners)
    return total


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("base", "crop", "step", "pad"), [(26, 26, 17, True), (26, 24, 16, True), (30, 24, 24, False)], ids=str
)
def test_it_is_what_the_official_code_does(base: int, crop: int, step: int, pad: bool, align_corners: bool) -> None:
    model = Neighbours(align_corners=align_corners)
    image = np.random.default_rng(0).normal(size=(21, 30, 3)).astype("float32")
    scales, original = [0.5, 1.0, 1.75], (17, 25)
    entry = {"scales": scales, "flip_horizontal": True, "is_slide": True, "crop_size": [crop] * 2, "stride": [step] * 2}
    entry |= {"long_side": base, "pad": pad, "average": "exp"}
    batch = paddle.to_tensor(image.transpose(2, 0, 1)[None])
    with paddle.no_grad(), Protocol.read({"multi": entry}, "multi").applied([NORMALIZE]):
        found, logs = infer.inference(model, batch, trans_info=[("resize", original)])
    expected = resized(official(model, image, scales, True, base, crop, step, pad), *original, align_corners)
    np.testing.assert_allclose(np.exp(logs.numpy()[0]).transpose(1, 2, 0), expected / len(scales), rtol=2e-4)
    np.testing.assert_array_equal(found.numpy()[0, 0], expected.argmax(2))


def inference(entry: dict[str, Any], model: paddle.nn.Layer, image: paddle.Tensor) -> np.ndarray:
    with paddle.no_grad(), Protocol.read({"it": entry}, "it").applied([]):
        return infer.aug_inference(model, image, trans_info=[])[1].numpy()


def test_plain_averages_of_logits_are_paddlesegs() -> None:
    image, model = paddle.randn([1, 3, 20, 28]), Neighbours()
    flips = {"scales": [0.75, 1.5], "flip_horizontal": True, "flip_vertical": True}
    expected = infer.aug_inference(model, image, trans_info=[], **flips)[1].numpy()
    np.testing.assert_allclose(inference(flips, model, image), expected, atol=1e-5)
    window = {"is_slide": True, "crop_size": (16, 12), "stride": (10, 8)}
    expected = infer.inference(model, image, trans_info=[], **window)[1].numpy()
    np.testing.assert_allclose(inference(window, model, image), expected, atol=1e-5)


def test_softmax_averages_probabilities() -> None:
    image, model = paddle.randn([1, 3, 8, 8]), Neighbours()
    both = [model(image)[0], model(image[:, :, :, ::-1])[0][:, :, :, ::-1]]
    expected = sum(paddle.nn.functional.softmax(x, axis=1).numpy() for x in both) / 2
    found = inference({"flip_horizontal": True, "average": "softmax"}, model, image)
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-4)


def test_left_and_right_are_swapped_back_before_exp() -> None:
    class Sides:
        mirrored = ((1, 2),)

    image, model = paddle.randn([1, 3, 8, 8]), Neighbours()
    back = model(image[:, :, :, ::-1])[0].numpy()[:, :, :, ::-1][:, [0, 2, 1, 3]]
    with mirrored_classes(Sides(), K):
        found = inference({"flip_horizontal": True, "average": "exp"}, model, image)
    np.testing.assert_allclose(found, (model(image)[0].numpy() + back) / 2, atol=1e-5)


def test_an_image_is_padded_to_multiples_and_cut_again() -> None:
    image, model = paddle.randn([1, 3, 10, 13]), Neighbours()
    padded = paddle.nn.functional.pad(image, [0, 3, 0, 6])
    np.testing.assert_allclose(
        inference({"multiple": 8}, model, image), model(padded)[0].numpy()[:, :, :10, :13], atol=1e-6
    )
    assert model.sizes[0] == (16, 16)


@pytest.mark.parametrize("side", [769, 865])
def test_tiled_crops_are_eight_as_table_12_counts(side: int) -> None:
    stride = {769: 769 - 256, 865: 577}[side]
    rows, columns = (module._starts(length, side, stride) for length in (1024, 2048))
    assert len(rows) * len(columns) == 8
    assert (rows[-1] + side, columns[-1] + side) == (1024, 2048)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"scale": [1.0]}, "no key of protocols.it 'scale'; did you mean scales"),
        ({"aug_eval": True}, "no key of protocols.it 'aug_eval'"),
        ({"average": "mean"}, "no protocols.it.average 'mean'; there are logits, softmax, exp"),
        ({"long_side": 0}, r"protocols.it.long_side is 0; give a whole number of 1 or more"),
        ({"pad": 1}, "protocols.it.pad is 1; give true or false"),
        ({"pad": True}, "protocols.it.pad is about windows: set is_slide"),
        ({"scales": []}, "scales .* must be numbers above 0"),
        ({"is_slide": True, "crop_size": [4, 4], "stride": [5, 4]}, "pixels stay unseen"),
        ({"transforms": ["Resize"]}, "protocols.it.transforms is .*each with its type"),
    ],
)
def test_what_makes_no_sense_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Protocol.read({"it": entry}, "it")


# What the configs say, against the papers and the official repositories: data set -> scales, flip, window, stride.

SIX, SEVEN = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
PUBLISHED = {
    # HRNet-Semantic-Segmentation's README (branch HRNet-OCR), lib/datasets/cityscapes.py
    ("hrnet_w48_cityscapes", "multi"): (SIX, True, (2048, 1024), (2048, 1024)),
    ("uhrnet_w48_ocr_cityscapes", "multi"): (SIX, True, (2048, 1024), (2048, 1024)),
    ("ddrnet_39_cityscapes", "multi"): (SEVEN, True, (2048, 1024), (2048, 1024)),  # DDRNet paper, section V-E
    ("spgnet_r50_cityscapes", "multi"): ((0.75, 1.0, 1.25, 1.5, 1.75, 2.0), True, None, None),  # SPGNet, section 4.3
    ("spgnet_r18_cityscapes", "tiled"): ((1.0,), False, (769, 769), (513, 513)),  # its table 12
    ("hrnet_w48_lip", "single"): ((1.0,), True, None, None),
    # base_dataset.py: the stride is int(2/3 of the crop)
    ("hrnet_w48_pascal_context", "multi"): (SEVEN, True, (480, 480), (320, 320)),
    ("hrnet_w48_ocr_pascal_context", "multi"): (SEVEN, True, (520, 520), (346, 346)),
    ("hrnet_w48_ocr_ade20k", "single"): ((1.0,), False, (520, 520), (346, 346)),
    ("uhrnet_w48_ade20k", "multi"): (SEVEN, True, (520, 520), (346, 346)),
    ("hrnet_w48_specialize_fuse_coco_stuff", "multi"): (SEVEN, True, (520, 520), (346, 346)),
}


@pytest.mark.parametrize(("name", "protocol"), PUBLISHED)
def test_configs_have_the_published_protocols(name: str, protocol: str) -> None:
    found = Protocol.read(config_file.load(f"{name}.yml").dic["protocols"], protocol)
    options = found.options
    assert (options.scales, options.flip_horizontal, options.crop_size, options.stride) == PUBLISHED[name, protocol]
    assert found.average == ("softmax" if name.startswith("spgnet") else "exp")
    assert (found.long_side, found.pad) == (
        (520, True) if options.crop_size in ((480, 480), (520, 520)) else (None, False)
    )


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yml")), ids=lambda path: path.stem)
def test_every_protocol_can_be_read_and_paddleseg_takes_the_test_config(path: Path) -> None:
    config = config_file.load(path)
    builder = config_file.builder(config)
    for name in config.dic.get("protocols", {}):
        for step in Protocol.read(config.dic["protocols"], name).transforms or ():
            assert callable(builder.build_component(dict(step)))
    assert set(config.test_config) <= set(inspect.signature(core.evaluate).parameters)


# Through the command


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    protocols = {
        "single": {"transforms": [{"type": "Resize", "target_size": [24, 20]}, {"type": "Normalize"}]},
        "multi": {"scales": [0.5, 1], "flip_horizontal": True, "average": "exp"},
    }
    return tiny.config(tmp_path_factory.mktemp("protocols"), protocols=protocols)


def val(config: Path, *flags: object) -> dict[str, Any]:
    """What `hrfamily val` writes."""
    paddle.seed(1)
    out = config.parent / "scores.json"
    assert main(["val", "--config", str(config), "--device", "cpu", "--json", str(out), *map(str, flags)]) == 0
    return json.loads(out.read_text())


def test_val_takes_the_single_protocol_or_the_one_that_is_asked_for(config: Path, capsys) -> None:
    for flags, text in (
        ((), "protocol single: scale 1, no flip, averages of logits"),
        (("--protocol", "multi"), "protocol multi: scales 0.5 1, flip horizontal, averages of exp"),
        (("--aug_eval", "--scales", "0.75", "1"), "scales 0.75 1, no flip"),
    ):
        scores = val(config, *flags)
        assert text in capsys.readouterr().out.splitlines()
        assert scores["inference"]["protocol"] == (text.split()[1].rstrip(":") if "protocol" in text else None)
        resized = scores["val_dataset"]["transforms"][0]["type"] == "Resize"
        assert resized == (flags == ())  # its transforms are the protocol's


def test_a_config_without_protocols_is_evaluated_by_its_test_config(tmp_path: Path, capsys) -> None:
    plain = tiny.config(tmp_path, test_config={"aug_eval": True, "scales": [0.5, 1.0], "flip_horizontal": True})
    assert val(plain)["inference"]["aug_eval"] is True
    assert "scales 0.5 1, flip horizontal" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--protocol", "mutli"), "no protocol of this config 'mutli'; did you mean multi"),
        (("--protocol", "multi", "--aug_eval"), "--protocol multi says all that --aug_eval would"),
        (("--protocol", "multi", "--opts", "protocols.multi.scale=2"), "no key of protocols.multi 'scale'"),
    ],
)
def test_mistakes_are_one_line(config: Path, capsys, flags: tuple[str, ...], message: str) -> None:
    assert main(["val", "--config", str(config), *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_protocol_that_the_config_lacks(tmp_path: Path, capsys) -> None:
    assert main(["val", "--config", str(tiny.config(tmp_path)), "--protocol", "multi"]) == 2
    assert "--protocol multi: the config has no protocols" in capsys.readouterr().err


def test_predict_sees_images_by_the_same_protocol(config: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(config.read_text())
    weights = tmp_path / "model.pdparams"
    builder = config_file.builder(config_file.load(config))
    paddle.save(builder.model.state_dict(), str(weights))
    image = config.parent / "data" / "0.jpg"
    line = [
        "predict",
        "--config",
        str(config),
        "--model_path",
        str(weights),
        "--device",
        "cpu",
        "--image_path",
        str(image),
    ]
    assert main([*line, "--protocol", "single", "--save_dir", str(tmp_path)]) == 0
    model = builder.model
    model.eval()
    data = builder.val_dataset
    data.transforms.transforms[:] = [Resize([24, 20]), Normalize()]
    assert content["protocols"]["single"]["transforms"][0]["target_size"] == [24, 20]
    sample = data[0]
    with paddle.no_grad():
        batch = paddle.to_tensor(sample["img"][None])
        expected = infer.inference(model, batch, trans_info=sample["trans_info"])[0].numpy()[0, 0]
    found = cv2.imread(str(tmp_path / "label" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert (found == expected).mean() > 0.99
