"""Filling a network from a checkpoint: all of it or an error that says what does not fit, never half of it silently."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol, Union

import numpy as np

from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.registry import Published
from paddle_hrfamily.weights import inflation, needs
from paddle_hrfamily.weights.fetching import fetch
from paddle_hrfamily.weights.files import Contents, contents_of, open_weights
from paddle_hrfamily.weights.layouts import AUXILIARY, LAYOUTS, Layout, strip
from paddle_hrfamily.weights.own import OWN
from paddle_hrfamily.weights.published import about

if TYPE_CHECKING:  # weights are fetched and read without paddle
    from paddle_hrfamily.layers import Padding

# "auto" is a whole backbone, and the head as well if the file has one for this many classes.
Part = Literal["all", "backbone", "auto"]
PARTS: tuple[Part, ...] = ("all", "backbone", "auto")

Shape = tuple[int, ...]
_SHOWN = 4  # names in a line of a report


class Tensor(Protocol):
    """What is needed of a network's tensor, which is Paddle's."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> object: ...

    def set_value(self, value: object) -> object: ...


class Network(Protocol):
    """What is needed of a network, which is a `paddle.nn.Layer`."""

    def state_dict(self) -> Mapping[str, Tensor]: ...


Source = Union[str, os.PathLike[str], Mapping[str, object]]


@dataclass
class Report:
    """What became of a checkpoint's tensors: names of the network's, from `unexpected` on of the file's."""

    source: str
    layout: str
    padding: str | None  # the padding that the weights need, where layout or file tell: "symmetric", "same"
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, Shape, Shape]] = field(default_factory=list)  # name, the file's shape, the network's
    fresh: list[str] = field(default_factory=list)  # of layers that such weights never hold: left as they were
    unexpected: list[str] = field(default_factory=list)  # no place in the part of the network that was asked for
    inflated: list[str] = field(default_factory=list)  # first convolutions of RGB, made to fit images of other channels
    folded: list[str] = field(default_factory=list)  # biases that went into the mean of the batch norm behind them
    training_only: list[str] = field(default_factory=list)  # of an auxiliary head that this network goes without
    dropped: list[str] = field(default_factory=list)  # known to be of no use: step counters, losses, dead layers

    def __str__(self) -> str:
        padding = f", padding {self.padding}" if self.padding else ""
        wanted = len(self.matched) + len(self.missing) + len(self.mismatched)
        lines = [f"{self.source}: layout {self.layout}{padding}, {len(self.matched)} of {wanted} tensors matched"]
        lines += [
            f"  mismatched {name}: {_by(theirs)} in the file, {_by(ours)} here"
            for name, theirs, ours in self.mismatched[:_SHOWN]
        ]
        if len(self.mismatched) > _SHOWN:
            lines.append(f"  mismatched {len(self.mismatched) - _SHOWN} more")
        lines += [
            f"  {what} {len(keys)}: {sample(keys)}"
            for what, keys in (
                ("missing", self.missing),
                ("fresh", self.fresh),
                ("unexpected", self.unexpected),
                ("inflated from RGB", self.inflated),
                ("folded", self.folded),
                ("training only, left out", self.training_only),
                ("dropped", self.dropped),
            )
            if keys
        ]
        return "\n".join(lines)


def load_weights(
    model: Network,
    source: Source,
    *,
    strict: bool = True,
    part: Part = "all",
    allow_partial: bool = False,
    ignore_padding: bool = False,
) -> Report:
    """Fill `model` from published or own weights whose layout is detected. On an error the model is as it was.

    Args:
        model: a network with a `backbone`, or a backbone itself (of which `part` is then "backbone").
        source: a file, a URL or `hf-hub:REPO[/FILE]` (see `fetch`), or tensors by name. Of a published file, whatever
            folder it lies in, more is known than its tensors tell, and is held against the network.
        strict: tensors of the file with no place in a network asked for as a whole are an error. In a backbone they
            always are: they are the mark of weights for a larger one. A head for deep supervision, which is used in
            training alone, is left out of a network without one, and the report says so.
        part: "all"; "backbone"; "auto": the backbone, and the head too if it is for the same number of classes.
        allow_partial: missing and misshapen tensors are left as they are in the network instead of an error.
        ignore_padding: load weights that need the other padding; the results will be wrong.

    Raises:
        UserError: unreadable or unknown weights, weights of another network, other classes, channels, padding or
            corner handling.
    """
    if part not in PARTS:
        raise unknown("part of a network", part, PARTS)
    published = about(source)
    if part == "all" and not allow_partial:
        needs.check_classes(published, model, str(source))
    contents, label = _open(source, published)
    state = model.state_dict()
    from paddle_hrfamily.contract import traits  # it imports paddle, as the network has

    backbone = getattr(model, "backbone", model)
    known = traits(backbone)
    fit = _Fit(state, backbone is not model, contents, label, known.omits)
    if not ignore_padding:
        _check_padding(fit.report, known.padding)
    values = fit.select(part)
    _check(fit, part, strict=strict, allow_partial=allow_partial)
    whole = any(not fit.in_backbone(name) for name in values)
    needed = published.align_corners if published is not None else contents.align_corners
    needs.check_corners(needed, _corners(model, backbone), label, whole=whole)
    prepared = {name: _as_type(array, state[name]) for name, array in values.items()}
    for name, value in prepared.items():
        state[name].set_value(value)
    return fit.report


def canonical(contents: Contents, label: str) -> tuple[Layout, dict[str, np.ndarray]]:
    """The detected layout, and the tensors that have a place in this package's networks under our names."""
    arrays, _ = strip(contents.arrays)
    layout = detect(arrays, (), label)
    named = ((layout.rename(key), array) for key, array in arrays.items() if not layout.is_dead(key))
    return layout, {name: layout.value(array) for name, array in named if name is not None}


def layouts() -> list[Layout]:
    """Every layout, in the order in which they are tried: the registered ones, then this package's own names."""
    return [*LAYOUTS.values(), OWN]


def detect(keys: Collection[str], names: Sequence[str], label: str) -> Layout:
    """The layout of tensors named so. `names` are the network's: a file that mostly uses these needs no renaming."""
    if sum(key in keys for key in names) * 2 > len(keys):
        return OWN
    for layout in layouts():
        if layout.matches(keys):
            if layout.refusal:
                raise UserError(f"{label}: {layout.refusal}")
            return layout
    raise UserError(
        f"{label}: tensors named like {sample(list(keys))} are of no known layout; "
        f"known are {', '.join(layout.name for layout in layouts())}, and the network's own names"
    )


class _Fit:
    """Which tensor of a checkpoint goes where in a network."""

    def __init__(
        self, state: Mapping[str, Tensor], has_backbone: bool, contents: Contents, label: str, omits: str | None
    ) -> None:
        self.state = state
        self.has_backbone = has_backbone
        self.omits = omits  # how names of layers begin that this backbone is built without
        arrays, dropped = strip(contents.arrays)
        self.layout = detect(arrays, list(state), label)
        self.report = Report(label, self.layout.name, contents.padding or self.layout.padding, dropped=dropped)
        self.placed: dict[str, tuple[str, np.ndarray]] = {}  # the network's name -> the file's name, value
        self.larger: list[str] = []  # the file's names of backbone tensors that this backbone has no place for
        self.biases: dict[str, np.ndarray] = {}  # our name of the batch norm's mean -> what is to be taken off it
        for key, array in arrays.items():
            self._place(key, array)
        for mean, bias in self.biases.items():
            if mean in self.placed and self.placed[mean][1].shape == bias.shape:
                key, array = self.placed[mean]
                self.placed[mean] = key, array - bias

    def _place(self, key: str, array: np.ndarray) -> None:
        # A name of the network's own wins, so that PaddleSeg's models take PaddleSeg's files as they are.
        ours = self.layout.rename(key)
        name = key if key in self.state else self._here(ours)
        if name is not None and name in self.state:
            self.placed[name] = key, array if name == key else self.layout.value(array)
        elif name is not None and (mean := _normalised_by(name)) is not None and mean in self.state:
            self.biases[mean] = array
            self.report.folded.append(key)
        elif self.layout.is_dead(key) or self._is_omitted(ours):
            self.report.dropped.append(key)
        elif self._is_training_only(ours):
            self.report.training_only.append(key)
        else:
            self.report.unexpected.append(key)
            if ours is not None and ours.startswith("backbone."):
                self.larger.append(key)

    def _here(self, ours: str | None) -> str | None:
        """Our name of a whole network's tensor, as this model names it: a backbone by itself has no prefix."""
        if ours is None or self.has_backbone:
            return ours
        return ours[len("backbone.") :] if ours.startswith("backbone.") else None

    def _is_omitted(self, ours: str | None) -> bool:
        return self.omits is not None and ours is not None and ours.startswith(f"backbone.{self.omits}")

    def _is_training_only(self, ours: str | None) -> bool:
        """Of an auxiliary head, where this network is one with a head and without that."""
        if not self.has_backbone or ours is None or not ours.startswith(AUXILIARY):
            return False
        return not any(name.startswith(AUXILIARY) for name in self.state)

    def in_backbone(self, name: str) -> bool:
        return not self.has_backbone or name.startswith("backbone.")

    def select(self, part: Part) -> dict[str, np.ndarray]:
        """Fill the report for `part`, and return the tensors to load by the network's names."""
        report = self.report
        wanted = [name for name in self.state if part != "backbone" or self.in_backbone(name)]
        for name in self.layout.zero_if_absent & set(wanted) - set(self.placed):
            if f"{name.rpartition('.')[0]}.weight" in self.placed:
                self.placed[name] = name, np.zeros(self.state[name].shape, "float32")
        if part != "all" or not self.has_backbone:  # a trained network as a whole is for the images that it knows
            self._inflate(wanted)
        given = [name for name in wanted if name in self.placed]
        shapes = {name: (self.placed[name][1].shape, tuple(self.state[name].shape)) for name in given}
        wrong = [name for name, (theirs, ours) in shapes.items() if theirs != ours]
        if part == "auto":
            head = [name for name in wanted if not self.in_backbone(name)]
            fits = any(name in shapes for name in head) and not any(name in head for name in wrong)
            wanted = [name for name in wanted if self.in_backbone(name) or (fits and name in shapes)]
        report.unexpected += [key for name, (key, _) in self.placed.items() if name not in wanted]
        report.matched = [name for name in wanted if name in shapes and name not in wrong]
        report.mismatched = [(name, *shapes[name]) for name in wanted if name in wrong]
        absent = [name for name in wanted if name not in self.placed]
        report.fresh = self._never_held(absent)
        report.missing = [name for name in absent if name not in report.fresh]
        return {name: self.placed[name][1] for name in report.matched}

    def _inflate(self, wanted: Sequence[str]) -> None:
        """Have the first convolution of RGB weights fit images of other channels."""
        for name in wanted:
            key, array = self.placed.get(name, ("", np.zeros(())))
            if inflation.fits(array.shape, self.state[name].shape):
                self.placed[name] = key, inflation.inflated(array, self.state[name].shape[1])
                self.report.inflated.append(name)

    def _never_held(self, absent: Sequence[str]) -> list[str]:
        """Those of layers that no such checkpoint has, if this one has nothing of them."""
        lacks = self.layout.lacks
        if lacks is None or any(re.match(lacks, name) for name in self.placed):
            return []
        return [name for name in absent if re.match(lacks, name)]


def _normalised_by(name: str) -> str | None:
    """The running mean behind a convolution: taking the bias off it is the same as adding the bias in front."""
    return f"{name.removesuffix('.conv.bias')}.bn._mean" if name.endswith(".conv.bias") else None


def _open(source: Source, published: Published | None) -> tuple[Contents, str]:
    if isinstance(source, Mapping):
        return contents_of(source), "the given tensors"
    path = fetch(source, sha256=published.sha256 if published is not None else "")
    return needs.rescaled(open_weights(path), published), str(source)


def _corners(model: Network, backbone: object) -> dict[str, bool]:
    """align_corners of a network and of its backbone, where they have one, by their keys in a config."""
    parts = {"model": model, "model.backbone": backbone}
    if backbone is model:
        del parts["model"]
    found = {f"{key}.align_corners": getattr(part, "align_corners", None) for key, part in parts.items()}
    return {key: value for key, value in found.items() if isinstance(value, bool)}


def _check_padding(report: Report, padding: Padding | None) -> None:
    needed = report.padding
    if needed is None or padding is None or padding == needed:
        return
    raise UserError(
        f"{report.source}: these weights ({report.layout}) were trained with padding {needed!r} in strided "
        f"convolutions, but the network was built with {padding!r} and would compute something else: write "
        f'`padding: {needed}` in the backbone\'s config, or create_model(..., padding="{needed}")'
    )


def _check(fit: _Fit, part: Part, *, strict: bool, allow_partial: bool) -> None:
    report = fit.report
    if not report.matched and not report.mismatched:
        _fail(report, "nothing in it fits this network")
    if fit.larger and not allow_partial:
        _fail(
            report,
            "these are another backbone's weights, with no place for some of them here; build the variant they are for",
        )
    if report.mismatched and not (allow_partial and report.matched):
        _fail(report, _explain_mismatch(report.mismatched))
    if report.missing and not allow_partial:
        if all(not fit.in_backbone(name) for name in report.missing):
            _fail(report, 'it has no head for this network; load the backbone alone with part="backbone"')
        _fail(report, "it does not fill the network; allow_partial=True loads what there is")
    if report.unexpected and strict and part == "all" and fit.has_backbone:
        _fail(report, 'part of it has no place here; strict=False leaves that out, part="backbone" the head')


def _explain_mismatch(mismatched: Sequence[tuple[str, Shape, Shape]]) -> str:
    by_name = {name: (theirs, ours) for name, theirs, ours in mismatched}
    for name, (theirs, ours) in by_name.items():
        if name.endswith("stem.conv1.conv.weight") and len(theirs) == 4 and theirs[1] != ours[1]:
            return (
                f"its first convolution takes {theirs[1]} channels and this network's in_channels is {ours[1]}; "
                f'build it with in_channels={theirs[1]}; as `pretrained` of a config, or with part="auto", RGB '
                "weights are inflated to other channels"
            )
    if all(_differ_in_classes(name, theirs, ours) for name, (theirs, ours) in by_name.items()):
        name, (theirs, ours) = next(iter(by_name.items()))
        reason = (
            f"it tells {_outputs(theirs)} classes apart and this network {_outputs(ours)}; build it with "
            f"num_classes={_outputs(theirs)}"
        )
        if not name.startswith("head."):
            return reason
        return f'{reason}, or load the backbone alone with part="backbone" (the backbone\'s `pretrained` in a config)'
    return "it is of a network of another size; build the variant that it is for"


def _outputs(shape: Shape) -> int:
    """Of a convolution's weight (out, in, …), a linear layer's (in, out) or a bias (out)."""
    return shape[-1] if len(shape) == 2 else shape[0]


def _differ_in_classes(name: str, theirs: Shape, ours: Shape) -> bool:
    if name.endswith(".attend.conv.weight"):  # SPGNet's guidance: classes come in
        return theirs[0] == ours[0]
    return _differ_in_outputs(theirs, ours) and _is_classifier(name)


def _differ_in_outputs(theirs: Shape, ours: Shape) -> bool:
    axes = slice(0, -1) if len(ours) == 2 else slice(1, None)
    return len(theirs) == len(ours) and theirs[axes] == ours[axes]


def _is_classifier(name: str) -> bool:
    """Of a head, or of a stage of SPGNet."""
    place, _, leaf = name.rpartition(".")
    return leaf in ("weight", "bias") and (place.startswith("head.") or place.endswith(".classify"))


def _fail(report: Report, reason: str) -> NoReturn:
    raise UserError(f"{report.source}: {reason}\n{replace(report, dropped=[])}")


def _as_type(array: np.ndarray, tensor: Tensor) -> object:
    """`array` as Paddle's `set_value` takes it for `tensor`."""
    name = str(tensor.dtype).rpartition(".")[2].lower()
    if name == "bfloat16":
        import paddle

        return paddle.to_tensor(np.asarray(array, "float32", order="C")).astype(name)
    return np.asarray(array, name, order="C")


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a number"


def sample(keys: Sequence[str], count: int = _SHOWN) -> str:
    """The first few of `keys` in words."""
    return ", ".join(keys[:count]) + (", …" if len(keys) > count else "")
