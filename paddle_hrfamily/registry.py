"""Components by name. Each registers itself where it is defined, with a decorator from this module:

    @registry.backbone(zoo="mynet", variants=("tiny", "base"))
    class MyNet(Backbone): ...

A name stands for one component. Registering another one under it is an error that names both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from paddle_hrfamily.errors import UserError, unknown

T = TypeVar("T")
Class = TypeVar("Class", bound=type)
Color = tuple[int, int, int]  # red, green, blue of 0..255

_EVERY: list[Registry] = []


class Registry(Generic[T]):
    """Components of one kind by name, in the order in which they were registered.

    Args:
        kind: what errors call a component, such as "backbone".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[str, T] = {}
        self._listeners: dict[str, Callable[[T], object]] = {}
        _EVERY.append(self)

    def add(self, name: str, component: T) -> None:
        """Register a component, and tell the listeners. An equal one of that name may be registered again.

        Raises:
            UserError: another component has that name.
        """
        present = self._components.setdefault(name, component)
        if present != component:
            raise UserError(
                f"{self.kind} {name!r} is registered twice: as {_place(present)} and as {_place(component)}; rename one"
            )
        for listener in self._listeners.values():
            listener(component)

    def announce(self, listener_name: str, listener: Callable[[T], object]) -> None:
        """Call `listener` with every component: now with those that are there, later with each new one."""
        for component in self._components.values():
            listener(component)
        self._listeners[listener_name] = listener

    def get(self, name: str) -> T | None:
        """The component of that name, if there is one."""
        return self._components.get(name)

    def __getitem__(self, name: str) -> T:
        """The component of that name, or a UserError that offers the nearest names."""
        if name not in self._components:
            raise unknown(self.kind, name, self._components)
        return self._components[name]

    def __contains__(self, name: object) -> bool:
        return name in self._components

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)

    def items(self) -> list[tuple[str, T]]:
        return list(self._components.items())

    def values(self) -> list[T]:
        return list(self._components.values())


def snapshot() -> Callable[[], None]:
    """A function that brings every registry back to what it holds now, for plug-ins that fail half-way."""
    saved = [(registry, dict(registry._components)) for registry in _EVERY]

    def restore() -> None:
        for registry, components in saved:
            registry._components = components

    return restore


def _place(component: object) -> str:
    """Where a component comes from, for a message."""
    if isinstance(component, (BackboneInfo, ModelInfo)):
        component = component.component
    return f"{component.__module__}.{component.__qualname__}" if isinstance(component, type) else repr(component)


# --- What is known of a component ---

# How a paper counts operations: a property of `complexity.Complexity`.
Rule = Literal["giga", "billion", "billion_with_biases", "billion_by_fvcore"]


@dataclass(frozen=True)
class Entry:
    """A model of the zoo, by registered names: what a config would say. A model with encoders of its own has no
    `backbone`.

    Attributes:
        model: filled in by the `model` decorator.
        num_classes: None stands for an output without classes.
        size: height and width that its paper counts operations at.
        rule: how it counts them.
        published: millions of parameters and GFLOPs that the paper or the official repository states, if they do.
    """

    model: str = ""
    backbone: str | None = None
    variant: str = ""
    num_classes: int | None = 19
    size: tuple[int, int] = (1024, 2048)
    rule: Rule = "giga"
    backbone_options: Mapping[str, object] = field(default_factory=dict)
    model_options: Mapping[str, object] = field(default_factory=dict)
    published: tuple[float | None, float] | None = None

    @property
    def config(self) -> str:
        """The components in words: "HRNetSeg, UHRNet W48"."""
        parts = [self.model, f"{self.backbone} {self.variant}" if self.backbone else self.variant]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Family:
    """Zoo entries of a model, one for each variant of its backbones: `hrnet_w48` + suffix, …

    Attributes:
        suffix: what follows the backbone's part of the name.
        backbones: names of backbones. One that names the model in its own registration is added to them.
        entry: what the entries have in common.
        variants: of the backbones, if other than those that they registered.
        published: figures as in `Entry`, by the entry's name.
    """

    suffix: str
    backbones: tuple[str, ...]
    entry: Entry = field(default_factory=Entry)
    variants: tuple[str, ...] | None = None
    published: Mapping[str, tuple[float | None, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """What published weights were trained on.

    Attributes:
        title: its name in the field.
        num_classes: outputs of a network trained on it.
        order: what the outputs stand for, in their order, and how that compares with the labels of the data sets here.
    """

    title: str
    num_classes: int
    order: str


@dataclass(frozen=True)
class Published:
    """Published weights: where they are, and what a network must be like for them.

    Attributes:
        source: as `weights.fetch` takes it.
        padding: of strided convolutions: "symmetric", "same", None if not known.
        data: what they were trained on.
        align_corners: corner handling of the trained network's resizes; None where it makes no difference.
        score: as the publisher states it, in words.
        publisher: who trained or converted them.
        licence: of the publisher's repository, or of the weights where they have one of their own.
        sha256: hexadecimal digits that the file's SHA-256 begins with, where the publisher states them.
        pixels: what images were normalised by in training, and have to be in use: "imagenet" for its means and
            deviations, "half" for 0.5 and 0.5, which maps 0..255 to -1..1. None for a backbone, which is trained on.
        in_place_abn: trained by the In-Place ABN of the official code on PyTorch 0.4.1, whose batch norm scales by
            |weight| + 1e-5 instead of weight.
    """

    source: str
    padding: Literal["symmetric", "same"] | None
    data: DataSet | None = None
    align_corners: bool | None = None
    score: str = ""
    publisher: str = ""
    licence: str = ""
    sha256: str = ""
    pixels: Literal["imagenet", "half"] | None = None
    in_place_abn: bool = False


PublishedWeights = Mapping[str, Mapping[str, Published]]  # variant -> name such as "imagenet" -> weights
# (backbone, variant) -> name such as "cityscapes" -> weights of a whole network
PublishedNetworks = Mapping[tuple[str, str], Mapping[str, Published]]


@dataclass(frozen=True)
class BackboneInfo:
    """A registered backbone. The attributes are the arguments of `backbone`."""

    component: type
    zoo: str
    variants: tuple[str, ...]
    models: tuple[str, ...]
    weights: PublishedWeights


@dataclass(frozen=True)
class ModelInfo:
    """A registered model. The attributes are the arguments of `model`."""

    component: type
    family: Family | None
    entries: Mapping[str, Entry]
    in_configs: bool
    weights: PublishedNetworks


# --- The registries ---

BACKBONES: Registry[BackboneInfo] = Registry("backbone")
HEADS: Registry[type] = Registry("head")
MODELS: Registry[ModelInfo] = Registry("model")
LOSSES: Registry[type] = Registry("loss")
DATASETS: Registry[type] = Registry("dataset")
TRANSFORMS: Registry[type] = Registry("transform")
CLASSES: Registry[Mapping[str, Color]] = Registry("class table")  # by the data set's name; name -> colour, in order


def backbone(
    *,
    zoo: str = "",
    variants: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
    weights: PublishedWeights | None = None,
) -> Callable[[Class], Class]:
    """Decorator: register a backbone under its class's name, by which configs call it.

    Args:
        zoo: how the zoo's names of models on it begin, such as "hrnet".
        variants: those that models of the zoo stand on.
        models: names of registered models that stand on it in the zoo, beside those that name this backbone.
        weights: of the backbone alone: what `pretrained` may say for each variant.
    """

    def register(component: Class) -> Class:
        BACKBONES.add(component.__name__, BackboneInfo(component, zoo, variants, models, weights or {}))
        return component

    return register


def model(
    family: Family | None = None,
    *,
    entries: Mapping[str, Entry] | None = None,
    in_configs: bool = True,
    weights: PublishedNetworks | None = None,
) -> Callable[[Class], Class]:
    """Decorator: register a model under its class's name.

    Args:
        family: its entries in the zoo on every variant of some backbones.
        entries: further entries by name; one that the family has as well replaces the family's.
        in_configs: a config may name it. False is for networks that PaddleSeg's trainer cannot train.
        weights: of the whole network on a backbone and its variant: what `pretrained` and --model_path may say.
    """

    def register(component: Class) -> Class:
        name = component.__name__
        named = {key: replace(entry, model=name) for key, entry in (entries or {}).items()}
        own = None if family is None else replace(family, entry=replace(family.entry, model=name))
        MODELS.add(name, ModelInfo(component, own, named, in_configs, weights or {}))
        return component

    return register


def dataset(*, classes: Mapping[str, Color] | None = None) -> Callable[[Class], Class]:
    """Decorator: register a data set under its class's name, with names and colours of its classes in label order."""

    def register(component: Class) -> Class:
        DATASETS.add(component.__name__, component)
        if classes is not None:
            CLASSES.add(component.__name__, classes)
        return component

    return register


def head(component: Class) -> Class:
    """Decorator: register a head under its class's name."""
    HEADS.add(component.__name__, component)
    return component


def loss(component: Class) -> Class:
    """Decorator: register a loss under its class's name, by which configs call it."""
    LOSSES.add(component.__name__, component)
    return component


def transform(component: Class) -> Class:
    """Decorator: register a transform under its class's name, by which configs call it."""
    TRANSFORMS.add(component.__name__, component)
    return component
