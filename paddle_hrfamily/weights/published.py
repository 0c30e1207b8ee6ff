"""What a user may write as `pretrained` or `--model_path`: the short name of published weights, or a place.

Backbones register what fills them alone, such as "imagenet"; models, what fills the whole network, such as
"cityscapes". The names say the data set, then the publisher where it is not the first one, then the schedule:
"cityscapes" is the authors' own if they publish it, else mmsegmentation's, whose network is theirs, else PaddleSeg's;
"cityscapes_paddleseg" and "cityscapes_mmseg_80k" are those in any case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import BACKBONES, MODELS, ModelInfo, Published
from paddle_hrfamily.weights.fetching import HUB_PREFIX

# (backbone, variant) -> (data set, schedule, empty for the one to take) -> weights
Table = Mapping[tuple[str, str], Mapping[tuple[str, str], Published]]


def named(*offers: tuple[str, Table]) -> dict[tuple[str, str], dict[str, Published]]:
    """Tables of several publishers as a model registers them, the one to be preferred first.

    Args:
        offers: what a publisher adds to the names (empty for none), and its table.
    """
    found: dict[tuple[str, str], dict[str, Published]] = {}
    for publisher, table in offers:
        for network, entries in table.items():
            names = found.setdefault(network, {})
            for (data, schedule), weights in entries.items():
                names["_".join(filter(None, (data, publisher, schedule)))] = weights
                if not schedule:
                    names.setdefault(data, weights)
    return found


def resolve(backbone: str, variant: str, pretrained: str, model: str = "") -> Published:
    """Where to get what a user wrote as `pretrained`, and what the network must be like for it.

    A name is looked for among the whole networks of `model`, then among the backbone's own weights, then among the
    whole networks of other models on this backbone, whose names end as theirs do in the zoo: "cityscapes_ocr".

    Args:
        backbone: its name in configs, such as "HRNet".
        variant: such as "W48".
        pretrained: a published name; a path, URL or hub name is passed through, with what is known of that file.
        model: the name in configs of the network that is to be filled, if it is one.

    Raises:
        UserError: no weights of that name are published.
    """
    if not is_short_name(pretrained):
        known = about(pretrained)  # a copy of a published file, perhaps
        return Published(pretrained, None) if known is None else replace(known, source=pretrained)
    return _pick(pretrained, _offered(backbone, variant, model), f"{backbone} {variant}")


def resolve_network(model: str, backbone: str, variant: str, name: str) -> Published:
    """The same for weights that fill the whole network.

    Raises:
        UserError: no weights of that name are published for it.
    """
    return _pick(name, _of_network(model, backbone, variant), f"{model} on {backbone} {variant}")


def about(source: object) -> Published | None:
    """What is known of a file by its address or, wherever it lies, by a name that no other published file has."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    text = os.fspath(source)
    every = {weights.source: weights for entry in catalogue() for weights in (entry.weights,)}
    if text in every:
        return every[text]
    file = re.split(r"[/\\]", text)[-1]
    same = [weights for address, weights in every.items() if PurePosixPath(address).name == file]
    return same[0] if len(same) == 1 and not text.startswith(HUB_PREFIX) else None


def is_short_name(text: str) -> bool:
    return re.fullmatch(r"\w+", text) is not None and not Path(text).exists()


@dataclass(frozen=True)
class CatalogueEntry:
    """Published weights under all their names, and the network that they are for, as in the zoo.

    `whole` tells those of a whole network from those of a backbone.
    """

    network: str
    names: tuple[str, ...]
    weights: Published
    whole: bool


def catalogue() -> list[CatalogueEntry]:
    """All that can be had by name, backbone after backbone, then model after model."""
    found: list[CatalogueEntry] = []
    trunks = set()
    for backbone in BACKBONES.values():
        for variant, names in backbone.weights.items():
            label = f"{backbone.zoo or backbone.component.__name__.lower()}_{variant.lower()}"
            if label not in trunks:  # DDRNet's two forms have the same
                found += _entries(label, names, whole=False)
            trunks.add(label)
    for model in MODELS.values():
        for (name, variant), names in model.weights.items():
            zoo = BACKBONES[name].zoo
            found += _entries(f"{zoo}_{variant.lower()}{_suffix(model)}", names, whole=True)
    return found


def _entries(network: str, names: Mapping[str, Published], *, whole: bool) -> Iterator[CatalogueEntry]:
    for weights in dict.fromkeys(names.values()):
        aliases = tuple(sorted((name for name, other in names.items() if other == weights), key=len))
        yield CatalogueEntry(network, aliases, weights, whole)


def _suffix(model: ModelInfo) -> str:
    return model.family.suffix if model.family else ""


def _of_network(model: str, backbone: str, variant: str) -> Mapping[str, Published]:
    registered = MODELS.get(model)
    return registered.weights.get((backbone, variant), {}) if registered else {}


def _offered(backbone: str, variant: str, model: str) -> dict[str, Published]:
    names = dict(_of_network(model, backbone, variant))
    registered = BACKBONES.get(backbone)
    for name, weights in (registered.weights.get(variant, {}) if registered else {}).items():
        names.setdefault(name, weights)
    for other in MODELS.values():
        for name, weights in other.weights.get((backbone, variant), {}).items():
            names.setdefault(name + _suffix(other), weights)
    return names


def _pick(name: str, names: Mapping[str, Published], place: str) -> Published:
    if name not in names:
        known = f"there are {', '.join(names)}" if names else "none are"
        raise UserError(
            f"no weights {name!r} are published for {place}; {known}; or give a file, a URL or {HUB_PREFIX}OWNER/REPO"
        )
    return names[name]
