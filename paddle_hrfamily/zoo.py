"""The names behind `create_model` and `list_models`: one for every variant of every registered network."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch

from paddle import nn

from paddle_hrfamily import backbones, models  # noqa: F401  they register what the zoo consists of
from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.layers import Padding
from paddle_hrfamily.registry import BACKBONES, MODELS, BackboneInfo, Entry, ModelInfo, Published
from paddle_hrfamily.weights import resolve


def entries() -> dict[str, Entry]:
    """Every model of the zoo by name: model after model, on each of its backbones, variant after variant.

    Raises:
        UserError: two models want one name, or a model names a backbone that is not registered.
    """
    found: dict[str, Entry] = {}
    for model in MODELS.values():
        for name, entry in _entries_of(model):
            if name in found:
                raise UserError(f"the zoo has two models {name!r}: {found[name].config} and {entry.config}; rename one")
            found[name] = entry
    return found


def _entries_of(model: ModelInfo) -> Iterator[tuple[str, Entry]]:
    own = dict(model.entries)
    if (family := model.family) is not None:
        for backbone in _backbones_for(model):
            for variant in family.variants or backbone.variants:
                name = f"{backbone.zoo}_{variant.lower()}{family.suffix}"
                entry = replace(
                    family.entry,
                    backbone=backbone.component.__name__,
                    variant=variant,
                    published=family.published.get(name),
                )
                yield name, own.pop(name, entry)
    yield from own.items()


def _backbones_for(model: ModelInfo) -> list[BackboneInfo]:
    """Those that the model's family names, then those that name the model."""
    name = model.component.__name__
    named = [BACKBONES[backbone] for backbone in (model.family.backbones if model.family else ())]
    return named + [backbone for backbone in BACKBONES.values() if name in backbone.models and backbone not in named]


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes and that match the shell-style `pattern`, family by family."""
    return [name for name in entries() if fnmatch(name, pattern)]


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    pretrained: str | None = None,
    in_channels: int = 3,
    align_corners: bool | None = None,
    padding: Padding | None = None,
    auxiliary: bool | None = None,
) -> nn.Layer:
    """Build a network: image (N, in_channels, H, W) -> [logits (N, num_classes, H, W), *auxiliary] for segmentation.

    Args:
        name: one of `list_models()`, such as "uhrnet_w48_ocr".
        num_classes: classes to tell apart; left open, as many as the `pretrained` weights of a whole network, else 19,
            or what the network is for (1000 in classification).
        pretrained: a file, a URL, `hf-hub:REPO` or a published name such as "imagenet" (the backbone alone) or
            "cityscapes" (the whole network; `hrfamily weights` lists them). The head is filled where the weights hold
            one of this many classes.
        in_channels: channels of the image.
        align_corners: corner handling of every resize; left open, it is what `pretrained` needs, else False.
        padding: "symmetric" or "same"; left open, it is what `pretrained` needs, else the family's own.
        auxiliary: an output more in training, for deep supervision, where the network may go without.

    Raises:
        UserError: unknown name, an option that this network does not have, or weights that do not fit.
    """
    entry = find(name)
    model, backbone = components(entry)
    if pretrained and entry.backbone is not None:
        published = resolve(entry.backbone, entry.variant, pretrained, entry.model)
        padding = published.padding if padding is None else padding
        align_corners = published.align_corners if align_corners is None else align_corners
        same = [replace(weights, source=published.source) for weights in _whole_networks(entry)]  # wherever it lies
        if num_classes is None and published in same:
            num_classes = published.data.num_classes if published.data else None
    given = {
        "num_classes": num_classes,
        "align_corners": align_corners,
        "padding": padding,
        "auxiliary": auxiliary,
        "in_channels": in_channels,
        "pretrained": pretrained,
    }
    options = {key: value for key, value in given.items() if value is not None}
    _check(name, options, [part for part in (model, backbone) if part is not None])
    model_options = _accepted(model, {"num_classes": entry.num_classes, **entry.model_options, **options})
    if backbone is None:
        return model(**model_options)
    options.pop("pretrained", None)  # the model loads it, for its backbone too
    return model(backbone(entry.variant, **{**entry.backbone_options, **_accepted(backbone, options)}), **model_options)


def _whole_networks(entry: Entry) -> list[Published]:
    """Published weights that fill all of an entry's network."""
    return list(MODELS[entry.model].weights.get((entry.backbone or "", entry.variant), {}).values())


def find(name: str) -> Entry:
    """The zoo's entry of that name, or a UserError that offers the nearest ones."""
    known = entries()
    if name not in known:
        raise unknown("model", name, known)
    return known[name]


def components(entry: Entry) -> tuple[type[nn.Layer], type[nn.Layer] | None]:
    """The classes of an entry's model and, where it has one, backbone."""
    backbone = None if entry.backbone is None else BACKBONES[entry.backbone].component
    return MODELS[entry.model].component, backbone


def _parameters(component: type[nn.Layer]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(component).parameters


def _accepted(component: type[nn.Layer], options: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in options.items() if key in _parameters(component)}


def _check(name: str, options: Iterable[str], parts: Iterable[type[nn.Layer]]) -> None:
    known = {parameter for part in parts for parameter in _parameters(part)}
    for option in sorted(set(options) - known):
        raise UserError(f"{name} has no option {option}; it takes {', '.join(sorted(known - {'backbone', 'variant'}))}")
