"""A config for a user's own data: crop, batch and schedule from the images and this machine, each with its reason."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paddle
import yaml

from paddle_hrfamily import zoo
from paddle_hrfamily.complexity import complexity
from paddle_hrfamily.data.importing.preparing import Record
from paddle_hrfamily.data.reading import band_statistics, beyond_rgb
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import BACKBONES, Color, Entry
from paddle_hrfamily.weights import resolve

MODELS = ("HRNetSeg", "OCRSeg", "DDRSeg", "SPGNet", "SpecializeFuse")  # those that segment
_AUXILIARY = 0.4  # the weight of a second output's loss in HRNet-OCR and DDRNet
_COARSEST = 32  # sizes of crops are multiples of it: the coarsest stride of most networks
_LARGEST_CROP = {"cpu": 512, "gpu": 1024}
_LARGEST_BATCH = {"cpu": 4, "gpu": 12}
_EPOCHS, _FEWEST, _MOST = 120, 300, 80000
_SHARE = 0.6  # of the free memory, that training may take
_RARE = 0.1  # a class with less than this part of its even share of the pixels makes the data unbalanced
_IMAGENET: dict[str, Any] = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class Machine:
    """What training runs on.

    Attributes:
        kind: "cpu" or "gpu".
        memory: bytes that are free on it.
    """

    kind: str
    memory: int

    @classmethod
    def read(cls) -> Machine:
        """The first GPU if Paddle can use one, else this computer."""
        if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
            return cls("gpu", paddle.device.cuda.get_device_properties(0).total_memory)
        return cls("cpu", _free_memory())


def _free_memory() -> int:
    """Bytes, by the kernel's estimate; 4 GiB where it gives none."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 << 30


@dataclass(frozen=True)
class Choice:
    """A value of the config, and why it is this."""

    value: object
    why: str


@dataclass(frozen=True)
class Plan:
    """All that a config of own data depends on."""

    model: str
    crop: Choice  # (width, height)
    batch: Choice
    iters: Choice
    rate: Choice
    pretrained: Choice  # a published name or a file, None for random weights
    weighted: Choice  # whether classes are weighed


def network(name: str) -> Entry:
    """The zoo's entry of that name.

    Raises:
        UserError: there is none, or it does not segment.
    """
    entry = zoo.find(name)
    if entry.model not in MODELS:
        known = [other for other, found in zoo.entries().items() if found.model in MODELS]
        raise UserError(f"--model {name} does not segment ({entry.model}); take one of {', '.join(known)}")
    return entry


def plan(
    name: str,
    train: Sequence[Record],
    classes: int,
    machine: Machine,
    *,
    crop: tuple[int, int] | None = None,
    batch: int | None = None,
    iters: int | None = None,
    pretrained: str | None = None,
) -> Plan:
    """Choose what is left open.

    Args:
        name: of the zoo.
        train: the images to train on.
        crop: width, height.
        pretrained: "none" for random weights; left open, what is published for the network.

    Raises:
        UserError: the network does not segment, or weights of that name are not published for it.
    """
    entry = network(name)
    chosen = _crop(train, machine) if crop is None else Choice(crop, "asked for")
    size: tuple[int, int] = chosen.value  # type: ignore[assignment]
    taken = _batch(name, classes, size, len(train), machine) if batch is None else Choice(batch, "asked for")
    count = int(taken.value)  # type: ignore[call-overload]
    return Plan(
        name,
        chosen,
        taken,
        _iters(len(train), count) if iters is None else Choice(iters, "asked for"),
        Choice(float(f"{0.01 * count / 12:.2g}"), f"the papers' 0.01 for 12 images, scaled to {count}"),
        _pretrained(entry, pretrained),
        _weighted(train, classes),
    )


def _crop(train: Sequence[Record], machine: Machine) -> Choice:
    width, height = (int(statistics.median(getattr(r, side) for r in train)) for side in ("width", "height"))
    most = _LARGEST_CROP[machine.kind]
    size = tuple(min(most, max(_COARSEST, round(side / _COARSEST) * _COARSEST)) for side in (width, height))
    return Choice(
        size, f"the images are {width}x{height} in the middle; at most {most} a side on a {machine.kind.upper()}"
    )


def _batch(name: str, classes: int, crop: tuple[int, int], images: int, machine: Machine) -> Choice:
    fixed, each = training_memory(name, classes, crop)
    fitting = int((_SHARE * machine.memory - fixed) / each)
    most = min(_LARGEST_BATCH[machine.kind], images)
    gib = 2**30
    return Choice(
        max(2, min(most, fitting)),
        f"about {each / gib:.1f} GiB an image and {fixed / gib:.1f} GiB for the network, "
        f"of {machine.memory / gib:.0f} GiB free; at most {most}",
    )


def training_memory(name: str, classes: int, crop: tuple[int, int]) -> tuple[float, float]:
    """Bytes that training takes at all, and for each image of a batch of crops (width, height): an estimate.

    Three values are kept for each that a batch norm puts out, five for each weight, and four for each logit. Measured
    against DDRNet-23-slim, HRNet-W18-small-v2, HRNet-W48, U-HRNet-W18-small and SPGNet-R18 on a CPU, it is 1.1 to 2.2
    times what they take.
    """
    width, height = crop
    count = complexity(partial(zoo.create_model, name, classes), height, width)
    return 0.5e9 + 20.0 * count.parameters, 12.0 * count.normalised + 16.0 * classes * width * height


def _iters(images: int, batch: int) -> Choice:
    wanted = math.ceil(_EPOCHS * images / batch)
    iters = min(_MOST, max(_FEWEST, wanted))
    return Choice(iters, f"{iters * batch / images:.0f} times every image")


def _pretrained(entry: Entry, asked: str | None) -> Choice:
    if asked == "none":
        return Choice(None, "asked for random weights")
    if asked is not None:
        if entry.backbone is not None:
            resolve(entry.backbone, entry.variant, asked, entry.model)
        return Choice(asked, "asked for")
    backbone = entry.backbone or "ResNet"  # SPGNet's encoders
    variant = entry.variant or "R50"
    if "imagenet" in BACKBONES[backbone].weights.get(variant, {}):
        return Choice("imagenet", "published for this backbone")
    return Choice(None, "no weights are published for this backbone: random ones")


def _weighted(train: Sequence[Record], classes: int) -> Choice:
    totals = [sum(record.pixels[number] for record in train if record.pixels) for number in range(classes)]
    present = [total for total in totals if total]
    even = sum(present) / max(1, len(present))
    rarest = min(present, default=0) / even if present else 1.0
    if rarest < _RARE:
        return Choice(True, f"the rarest class has {rarest:.1%} of an even share of the pixels")
    return Choice(False, f"the rarest class has {rarest:.0%} of an even share of the pixels")


def normalization(images: Sequence[Path]) -> dict[str, Any]:
    """The transform that normalises images: of 8-bit RGB by ImageNet's numbers, of others by their own.

    Raises:
        UserError: an image cannot be read, or they differ in bands or type.
    """
    if beyond_rgb(images) is None:
        return _IMAGENET
    return band_statistics(images).transform()


def config(
    chosen: Plan,
    lists: dict[str, str],
    classes: Sequence[str],
    colors: Sequence[Color],
    relabel: dict[int, int],
    normalize: dict[str, Any] = _IMAGENET,
) -> dict[str, object]:
    """The config as a mapping; `lists` are the paths of train's and val's, `normalize` is `normalization`'s."""
    entry = network(chosen.model)
    crop = list(chosen.crop.value)  # type: ignore[call-overload]
    augment = [
        {"type": "ResizeStepScaling", "min_scale_factor": 0.5, "max_scale_factor": 2.0, "scale_step_size": 0.1},
        {"type": "RandomPaddingCrop", "crop_size": crop},
        {"type": "RandomHorizontalFlip"},
        {"type": "RandomDistort", "brightness_range": 0.4, "contrast_range": 0.4, "saturation_range": 0.4},
        normalize,
    ]
    if normalize["type"] != "Normalize":  # colours of other bands are not ours to change, and their padding is the mean
        augment[1:] = [normalize, {**augment[1], "im_padding_value": 0}, augment[2]]
    steps = {"train": augment, "val": [normalize]}
    sections = {
        f"{mode}_dataset": {
            "type": "OwnData",
            "mode": mode,
            "list_path": lists[mode],
            **({"relabel": dict(relabel)} if relabel else {}),
            "transforms": steps[mode],
        }
        for mode in ("train", "val")
    }
    loss: dict[str, object] = {"type": "CrossEntropyLoss", "ignore_index": 255}
    if chosen.weighted.value:
        loss["weight"] = "auto"
    return {
        "classes": {name: list(color) for name, color in zip(classes, colors)},
        "batch_size": chosen.batch.value,
        "iters": chosen.iters.value,
        "model": _model(entry, chosen, crop),
        **sections,
        "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 0.0005},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": chosen.rate.value, "end_lr": 0, "power": 0.9},
        "loss": {"types": [loss], "coef": _coefficients(entry)},
    }


def _model(entry: Entry, chosen: Plan, crop: list[int]) -> dict[str, object]:
    options = {key: value for key, value in entry.model_options.items() if key != "auxiliary"}
    pretrained = {"pretrained": chosen.pretrained.value} if chosen.pretrained.value else {}
    if entry.backbone is None:
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
        return {"type": entry.model, **own, "training_crop": crop, **pretrained}
    backbone = {"type": entry.backbone, "variant": entry.variant, **dict(entry.backbone_options), **pretrained}
    return {"type": entry.model, "backbone": backbone, **options}


def _coefficients(entry: Entry) -> list[float]:
    if entry.model == "SPGNet":
        return [1] * len(entry.model_options["encoders"])  # type: ignore[arg-type]
    return [1, _AUXILIARY] if entry.model in ("OCRSeg", "DDRSeg") else [1]


def text(content: dict[str, object], chosen: Plan, heading: Sequence[str]) -> str:
    """The config as YAML, with a comment above that says why each value is what it is."""
    reasons = {
        "crop": (f"{chosen.crop.value[0]}x{chosen.crop.value[1]}", chosen.crop.why),  # type: ignore[index]
        "batch_size": (chosen.batch.value, chosen.batch.why),
        "iters": (chosen.iters.value, chosen.iters.why),
        "learning_rate": (chosen.rate.value, chosen.rate.why),
        "pretrained": (chosen.pretrained.value or "none", chosen.pretrained.why),
        "class weights": ("auto" if chosen.weighted.value else "none", chosen.weighted.why),
    }
    lines = [*heading, *(f"{name} {value}: {why}." for name, (value, why) in reasons.items())]
    body = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    return "".join(f"# {line}\n" for line in lines) + "\n" + _spaced(body)


class _Dumper(yaml.SafeDumper):
    """Indents lists as people do, and writes equal parts out."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _spaced(body: str) -> str:
    """With an empty line before every section."""
    return "\n".join(_with_gaps(body.splitlines())) + "\n"


def _with_gaps(lines: Sequence[str]) -> Iterator[str]:
    for index, line in enumerate(lines):
        starts = bool(line) and not line[0].isspace()
        if index and starts and (line.endswith(":") or not lines[index - 1][0].isalpha()):
            yield ""
        yield line
