"""Every config builds what it names: network, losses, optimizer, schedule, transforms. It keeps its comments' word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paddle
import pytest
import yaml
from paddleseg.transforms import Compose

from paddle_hrfamily import zoo
from paddle_hrfamily.ablation.runs import parameters
from paddle_hrfamily.ablation.suite import read_suite
from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.integration import config_file, recipes, registration
from paddle_hrfamily.integration.builder import Builder
from paddle_hrfamily.integration.model_loading import leave_pretrained
from paddle_hrfamily.weights import resolve
from tests.recipes import OFFICIAL, Loss, Official

FOLDER = Path(__file__).resolve().parent.parent / "configs"
CONFIGS = sorted(FOLDER.glob("*.yml"))
SUITES = sorted((FOLDER / "ablations").glob("*.yml"))
DATASETS = (
    *("cityscapes", "ade20k", "lip", "coco_stuff", "pascal_context", "pascal_voc", "person_part"),
    *("camvid", "camvid_960x720", "nyuv2", "nyuv2_large", "synapse", "pascal_context60", "ade20k_split"),
)
SMALLEST = {"HRNet": "W18_Small_V1", "UHRNet": "W18_Small", "DDRNet": "23_slim", "ResNet": "R18"}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


def pretrained(model: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Family, variant and source of all weights that a model's section asks for."""
    if "encoders" in model and "pretrained" in model:
        yield from (("ResNet", encoder, model["pretrained"]) for encoder in model["encoders"])
    backbone = model.get("backbone", {})
    if "pretrained" in backbone:
        yield backbone["type"], backbone["variant"], backbone["pretrained"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds(path: Path) -> None:
    config = config_file.load(path)
    for source in pretrained(config.dic["model"]):
        assert resolve(*source).source.startswith(("https://", "hf-hub:"))
    leave_pretrained(config.dic["model"])  # published: its padding stays, wherever the file is
    with paddle.LazyGuard():  # every shape, no memory: the largest has 182 million parameters
        builder = config_file.builder(config)
        model = builder.model
        assert len(builder.loss["types"]) == len(builder.loss["coef"])
        assert builder.lr_scheduler.base_lr == config.dic["lr_scheduler"]["learning_rate"]
        assert builder.lr_scheduler.decay_steps == config.iters
        assert builder.optimizer is not None
    for split in ("train_dataset", "val_dataset"):
        transforms = [builder.build_component(item) for item in config.dic[split]["transforms"]]
        assert Compose(transforms).transforms
        if split == "train_dataset" and path.stem in OFFICIAL:
            assert built(config.batch_size, builder, transforms) == OFFICIAL[path.stem]
    assert len(class_table(config.dic)) == config.dic["model"]["num_classes"]
    rates = {name: tensor.optimize_attr["learning_rate"] for name, tensor in model.named_parameters()}
    for group in config.dic["optimizer"].get("custom_cfg", []):
        raised = {name for name, rate in rates.items() if rate == group["lr_mult"]}
        assert raised == {name for name in rates if group["name"] in name and not name.endswith(("_mean", "_variance"))}
        assert 0 < len(raised) < len(rates)


def built(batch: int, builder: Builder, transforms: list) -> Official:
    """What the components that a config's keys made will do, in the words of the authors' settings."""
    by_type = {type(item).__name__: item for item in transforms}
    scale, step = by_type.get("RandomScaleLongSide"), by_type.get("ResizeStepScaling")
    crop, resize, norm = (by_type.get(name) for name in ("RandomPaddingCrop", "Resize", "Normalize"))
    scales: tuple = (step.min_scale_factor, step.max_scale_factor, step.scale_step_size) if step else ()
    if scale:
        assert "AsUint8" in by_type
        scales = (scale.size, scale.min_scale, scale.max_scale, scale.step)
    optimizer, schedule = builder.optimizer, builder.lr_scheduler
    assert schedule.power == 0.9 and schedule.end_lr == 0
    assert getattr(optimizer, "_momentum", 0.9) == 0.9
    momenta = {layer._momentum for layer in builder.model.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)}
    aligned = {layer.align_corners for layer in builder.model.sublayers(True) if hasattr(layer, "align_corners")}
    assert len(momenta) == 1 and len(aligned) <= 1, "network and backbone differ"
    rates = {tensor.optimize_attr["learning_rate"] for tensor in builder.model.parameters()}
    return Official(
        rate=schedule.base_lr,
        decay=decay_of(optimizer),
        batch=batch,
        iterations=schedule.decay_steps,
        crop=crop and tuple(crop.crop_size[::-1]),
        scales=scales,
        losses=tuple(map(loss_of, builder.loss["types"], builder.loss["coef"])),
        optimizer=type(optimizer).__name__,
        head_rate=max(rates),
        padding=crop and crop.im_padding_value,
        short_side=by_type["ResizeShortSide"].size if "ResizeShortSide" in by_type else None,
        squashed=resize and tuple(resize.target_size),
        normalized=(tuple(norm.mean), tuple(norm.std)),
        batch_norm_momentum=momenta.pop(),
        align_corners=aligned.pop() if aligned else False,
        also=tuple(name for name in by_type if name in RANDOM),
    )


RANDOM = (
    *(
        "RandomHorizontalFlip",
        "RandomVerticalFlip",
        "RandomMirror",
        "RandomDistort",
        "RandomBrightness",
        "RandomRotation",
    ),
    *("RandomDepthZoom", "RandomSliceRotation"),
)
KINDS = {
    "CrossEntropyLoss": "ce",
    "WeightedPixelCrossEntropyLoss": "pixels",
    "WeightedOhemCrossEntropyLoss": "ohem",
}


def decay_of(optimizer: paddle.optimizer.Optimizer) -> float:
    """Of L2: Momentum has it in its own operator, the others as a regularizer."""
    if optimizer.regularization is not None:
        return optimizer.regularization._coeff
    assert optimizer._regularization_method == "l2_decay"
    return optimizer._regularization_coeff


def loss_of(loss: paddle.nn.Layer, coefficient: float) -> Loss:
    kind = type(loss).__name__
    if kind == "MixedLoss":
        assert [type(part).__name__ for part in loss.losses] == ["CrossEntropyLoss", "BatchDiceLoss"]
        assert loss.coef == [0.5, 0.5] and loss.losses[1].smooth == 1e-5
        return Loss("ce+dice", coefficient=coefficient)
    if kind == "DepthLoss":
        return Loss(loss.kind, coefficient=coefficient)
    assert loss.ignore_index == 255
    weights = None if loss.weight is None else tuple(round(float(weight), 4) for weight in loss.weight)
    ohem = (loss.thresh, loss.min_kept) if kind == "WeightedOhemCrossEntropyLoss" else None
    return Loss(KINDS[kind], weights, ohem, coefficient)


def test_every_paper_recipe_is_held_against_the_authors() -> None:
    own = {"quickstart", *(path.stem for path in CONFIGS if path.stem.endswith("_camvid"))}
    assert set(OFFICIAL) == {path.stem for path in CONFIGS} - own


def test_strengths_of_colour_distortion_and_brightness() -> None:
    released = config_file.load("uhrnet_w48_cityscapes.yml").dic["train_dataset"]["transforms"]
    distort = next(item for item in released if item["type"] == "RandomDistort")
    assert [distort[f"{part}_range"] for part in ("brightness", "contrast", "saturation")] == [0.4, 0.4, 0.4]
    fused = config_file.load("hrnet_w48_specialize_fuse_ade20k.yml").dic["train_dataset"]["transforms"]
    assert {"type": "RandomBrightness", "shift": 10} in fused


def test_specialize_and_fuse_is_tested_as_hrnet_ocr() -> None:
    ours, theirs = (
        config_file.load(f"hrnet_w48_{net}_pascal_context.yml").dic["val_dataset"] for net in ("specialize_fuse", "ocr")
    )
    assert ours == theirs
    assert "Resize" not in {item["type"] for item in ours["transforms"]}, "squashed"


def test_the_table_of_recipes_is_up_to_date() -> None:
    text = (FOLDER / "RECIPES.md").read_text(encoding="utf-8")
    assert text == recipes.page(), "hrfamily configs --recipes > configs/RECIPES.md"
    published = {recipe.name: recipe.score for recipe in recipes.recipes()}
    assert published["hrnet_w48_cityscapes"].startswith("81.1 mIoU on val")
    unscored = {name for name, score in published.items() if not score and not name.endswith("_camvid")}
    assert unscored == {"quickstart", "hrnet_w18_cityscapes", "hrnet_w18_small_v2_ade20k", "uhrnet_w18_small_ade20k"}


def network_name(model: dict[str, Any]) -> str:
    """What a config's file is called by: the zoo's name of its network, where it has one."""
    if model["type"] == "SPGNet":
        width = model.get("decoder_channels", 128)
        return f"spgnet_{model['encoders'][0].lower()}" + (f"_d{width}" if width != 128 else "")
    kind, variant = model["backbone"]["type"], model["backbone"]["variant"]
    name = f"resnet{variant[1:]}" if kind == "ResNet" else f"{kind}_{variant}".lower()
    return name + {"OCRSeg": "_ocr", "SpecializeFuse": "_specialize_fuse"}.get(model["type"], "")


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem != "quickstart"], ids=lambda path: path.stem)
def test_file_name_tells_network_and_data(path: Path) -> None:
    model = config_file.load(path).dic["model"]
    name = network_name(model)
    assert path.stem in {f"{name}_{data}" for data in DATASETS}
    zoo_name = f"{name}_depth" if model["type"] == "HRDepth" else name
    if zoo_name in zoo.entries():
        entry = zoo.find(zoo_name)
        assert entry.model == model["type"]
        assert entry.backbone is None or (entry.backbone, entry.variant) == (
            model["backbone"]["type"],
            model["backbone"]["variant"],
        )


def test_the_configs_asked_for_are_there() -> None:
    nets = ("uhrnet_w48", "uhrnet_w18_small", "hrnet_w48", "hrnet_w18_small_v2")
    ocr = ("hrnet_w48_ocr", "uhrnet_w48_ocr")
    ddrnets = ("ddrnet_23_slim", "ddrnet_23", "ddrnet_39", "ddrnet_39_1_5x")
    fused = ("hrnet_w48_specialize_fuse", "resnet101_specialize_fuse")
    small = ("uhrnet_w18_small", "hrnet_w18_small_v2", "ddrnet_23_slim", "spgnet_r18", "uhrnet_w18_small_ocr")
    assert {path.stem for path in CONFIGS} >= {
        "quickstart",
        *(f"{net}_cityscapes" for net in (*nets, *ocr, *ddrnets, "spgnet_r50_d256")),
        *(f"{net}_ade20k" for net in (*nets, *ocr, *fused)),
        *(f"{net}_lip" for net in ("hrnet_w48", "uhrnet_w48", *ocr)),
        *(f"{net}_coco_stuff" for net in fused),
        *(f"{net}_pascal_context" for net in ("hrnet_w48", "hrnet_w48_ocr", *fused)),
        *("spgnet_r50_pascal_voc", "spgnet_r50_person_part"),
        *(f"{net}_camvid" for net in (*small, "hrnet_w18_small_v2_specialize_fuse")),
        *(f"{net}_camvid_960x720" for net in ddrnets[:2]),
    }


def comments(path: Path) -> str:
    """The comment lines of a config and of what it is based on, joined."""
    text = path.read_text()
    bases = yaml.safe_load(text).get("_base_", [])
    own = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    return " ".join([own, *(comments(path.parent / base) for base in ([bases] if isinstance(bases, str) else bases))])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_epochs_are_worked_out_as_the_comment_says(path: Path) -> None:
    sums = re.findall(r"(\d+) \* (\d+) / (\d+) = (\d+)( iterations)?", comments(path))
    for epochs, images, batch, iterations, _ in sums:
        assert round(int(epochs) * int(images) / int(batch)) == int(iterations)
    binding = [int(iterations) for *_, iterations, binds in sums if binds]
    assert not binding or config_file.load(path).iters == binding[0]  # a config's own comment comes before its base's


def outputs_wanted() -> list[str]:
    """Every kind of model in the configs with its number of losses, as JSON of a section to build."""
    kinds = set()
    for path in CONFIGS:
        config = config_file.load(path).dic
        model = {key: config["model"][key] for key in ("type", "decoder_width") if key in config["model"]}
        model["num_classes"] = min(2, config["model"]["num_classes"])  # depth has one plane
        if "backbone" in config["model"]:
            kind = config["model"]["backbone"]["type"]
            model["backbone"] = {"type": kind, "variant": SMALLEST[kind]}
        else:
            model["encoders"] = ["R18"] * len(config["model"]["encoders"])
        kinds.add(json.dumps([model, len(config["loss"]["coef"])], sort_keys=True))
    return sorted(kinds)


@pytest.mark.parametrize("text", outputs_wanted())
def test_there_is_a_loss_for_every_output(text: str) -> None:
    section, losses = json.loads(text)
    config = config_file.load("uhrnet_w18_small_camvid.yml")
    config.dic["model"] = section
    model = config_file.builder(config).model
    logits = model(paddle.zeros([2, 3, 64, 64]))
    assert hasattr(model, "loss_computation") or len(logits) == losses


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_row_of_an_ablation_builds(path: Path) -> None:
    suite = read_suite(path)
    assert suite.source
    configs = {row.name: row.resolved() for row in suite.rows}
    assert len({str(config.dic) for config in configs.values()}) == len(configs), "two rows are the same"
    for config in configs.values():
        assert parameters(config) > 1e6
        assert config.dic["train_dataset"]["dataset_root"] == "data/camvid"


README_MODELS = re.findall(r"```yaml\n(model:.*?)```", (FOLDER.parent / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", README_MODELS, ids=lambda text: text.split()[2])
def test_a_swap_that_the_readme_shows_builds_and_runs(text: str) -> None:
    config = config_file.load("uhrnet_w18_small_camvid.yml")
    config.dic["model"] = yaml.safe_load(text)["model"]
    config.dic["model"]["backbone"].update(
        {"variant": "W18_Small"} if "concat" in text else {}
    )  # the large one is slow
    model = config_file.builder(config).model
    model.eval()
    with paddle.no_grad():
        assert model(paddle.zeros([1, 3, 64, 96]))[0].shape == [1, 19, 64, 96]


def test_the_readme_shows_both_directions() -> None:
    assert len(README_MODELS) == 2
