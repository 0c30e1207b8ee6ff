"""A training step of every model with every loss and optimizer in the configs and ablations, as PaddleSeg builds them.

Networks are the smallest of their families, images are small and classes few, and configs that differ in numbers alone
(rates, weights of classes, sizes) are one; everything else is as the config has it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import Config

from paddle_hrfamily.ablation.suite import read_suite
from paddle_hrfamily.integration import config_file, registration
from paddle_hrfamily.integration.model_loading import leave_pretrained
from paddle_hrfamily.patching import core_module

FOLDER = Path(__file__).resolve().parent.parent / "configs"
SMALLEST = {"HRNet": "W18_Small_V1", "UHRNet": "W18_Small", "DDRNet": "23_slim", "ResNet": "R18"}
SIZE, FEW, CLASSES = (64, 96), 500, 7
ALIKE = ("weight_decay", "thresh", "batch_norm_momentum", "training_crop")  # numbers that a step takes any of


def configs() -> Iterator[tuple[str, Config]]:
    registration.register()
    for path in sorted(FOLDER.glob("*.yml")):
        yield path.stem, config_file.load(path)
    for path in sorted((FOLDER / "ablations").glob("*.yml")):
        for row in read_suite(path).rows:
            yield f"{path.stem}-{row.name}", row.resolved()


def smaller(section: Any) -> Any:
    """A copy with the smallest networks, few classes, and so few pixels kept by OHEM that it leaves some out."""
    if isinstance(section, list):
        return [smaller(item) for item in section]
    if not isinstance(section, dict):
        return section
    small = {key: smaller(value) for key, value in section.items()}
    if "variant" in small:
        small["variant"] = SMALLEST[small["type"]]
    if "encoders" in small:
        small["encoders"] = [SMALLEST["ResNet"]] * len(small["encoders"])
    if "min_kept" in small:
        small["min_kept"] = FEW
    if small.get("num_classes", 1) > 1:  # 1 is depth's plane
        small["num_classes"] = CLASSES
    if "weight" in small:
        small["weight"] = small["weight"][:CLASSES]
    return small


def kind(config: Config) -> str:
    """What a step depends on, without the numbers that it does not."""
    parts = [config.dic[part] for part in ("model", "loss", "optimizer")]
    return re.sub(rf'"({"|".join(ALIKE)})": (\[[^]]*\]|[^,}}]*)', "", json.dumps(parts, sort_keys=True))


def steps() -> dict[str, Config]:
    """The first config of each kind that is left once networks are small, by its name."""
    kinds: dict[str, tuple[str, Config]] = {}
    for name, config in configs():
        leave_pretrained(config.dic["model"])
        for part in ("model", "loss"):
            config.dic[part] = smaller(config.dic[part])
        if config.dic["model"]["num_classes"] == CLASSES:  # PaddleSeg holds one number against the other
            config.dic["train_dataset"] = {"type": "Dataset", "num_classes": CLASSES}
        kinds.setdefault(kind(config), (name, config))
    return dict(kinds.values())


STEPS = steps()


def batch(num_classes: int) -> dict[str, paddle.Tensor]:
    """Two images; labels with some ignored pixels, or metres with some unmeasured ones."""
    noise = np.random.RandomState(0)
    label = noise.uniform(1, 9, (2, *SIZE)) if num_classes == 1 else noise.randint(0, num_classes, (2, *SIZE))
    label[:, :4] = 0 if num_classes == 1 else 255
    images = paddle.to_tensor(noise.randn(2, 3, *SIZE).astype("float32"))
    return {"img": images, "label": paddle.to_tensor(label.astype("float32" if num_classes == 1 else "int64"))}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_reaches_every_parameter(name: str) -> None:
    paddle.seed(0)
    builder = config_file.builder(copy.deepcopy(STEPS[name]))
    model, losses, optimizer = builder.model, builder.loss, builder.optimizer
    model.train()
    data = batch(STEPS[name].dic["model"]["num_classes"])
    outputs = model(data["img"])
    if hasattr(model, "loss_computation"):
        loss = sum(model.loss_computation(outputs, losses, data))
    else:
        loss = sum(core_module("train").loss_computation(outputs, data["label"], None, losses))
    loss.backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if not parameter.stop_gradient}
    assert float(loss) > 0
    assert not [name for name, parameter in trained.items() if parameter.grad is None]
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in trained.values())
    before = {name: parameter.numpy() for name, parameter in trained.items()}
    optimizer.step()
    after = {name: parameter.numpy() for name, parameter in trained.items()}
    assert all(np.isfinite(value).all() for value in after.values())
    assert any((after[name] != before[name]).any() for name in trained)
