"""Every config builds what it names: network, losses, optimizer, schedule, transforms."""

from __future__ import annotations

import re
from pathlib import Path

import paddle
import pytest
import yaml
from paddleseg.transforms import Compose

from paddle_hrfamily.host import registry, settings
from paddle_hrfamily.host.classes import class_table
from paddle_hrfamily.weights import resolve

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yml"))


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registry.register()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds(path: Path) -> None:
    config = settings.load(path)
    backbone = config.dic["model"]["backbone"]
    pretrained = backbone.pop("pretrained", None)
    if pretrained:  # published: its padding is what the network is built with, wherever the file is
        assert resolve(backbone["type"], backbone["variant"], pretrained).source.startswith(("https://", "hf-hub:"))
    with paddle.LazyGuard():  # every shape, no memory: the largest has 182 million parameters
        builder = settings.builder(config)
        model = builder.model
        assert len(builder.loss["types"]) == len(builder.loss["coef"]) == 1
        assert builder.lr_scheduler.base_lr == config.dic["lr_scheduler"]["learning_rate"]
        assert builder.lr_scheduler.decay_steps == config.iters
        assert builder.optimizer is not None
    for split in ("train_dataset", "val_dataset"):
        transforms = [builder.build_component(item) for item in config.dic[split]["transforms"]]
        assert Compose(transforms).transforms
    assert len(class_table(config.dic)) == model.num_classes
    assert model.backbone.variant == backbone["variant"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_file_name_tells_the_network(path: Path) -> None:
    backbone = settings.load(path).dic["model"]["backbone"]
    if path.stem != "quickstart":
        assert path.stem.startswith(f"{backbone['type']}_{backbone['variant']}_".lower())


def test_the_configs_asked_for_are_there() -> None:
    assert {path.stem for path in CONFIGS} >= {
        "quickstart",
        *(f"{net}_cityscapes" for net in ("uhrnet_w48", "uhrnet_w18_small", "hrnet_w48", "hrnet_w18_small_v2")),
        *(f"{net}_ade20k" for net in ("uhrnet_w48", "uhrnet_w18_small", "hrnet_w48", "hrnet_w18_small_v2")),
        *(f"{net}_camvid" for net in ("uhrnet_w18_small", "hrnet_w18_small_v2")),
    }


README_MODELS = re.findall(r"```yaml\n(model:.*?)```", (CONFIGS[0].parent.parent / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", README_MODELS, ids=lambda text: text.split()[2])
def test_a_swap_that_the_readme_shows_builds_and_runs(text: str) -> None:
    config = settings.load("uhrnet_w18_small_camvid.yml")
    config.dic["model"] = yaml.safe_load(text)["model"]
    config.dic["model"]["backbone"].update(
        {"variant": "W18_Small"} if "concat" in text else {}
    )  # the large one is slow
    model = settings.builder(config).model
    model.eval()
    with paddle.no_grad():
        assert model(paddle.zeros([1, 3, 64, 96]))[0].shape == [1, 19, 64, 96]


def test_the_readme_shows_both_directions() -> None:
    assert len(README_MODELS) == 2
