"""Convert published weights of any readable layout to this package's own .pdparams or .safetensors.

hrfamily convert hrnet_w48_cityscapes.pth hrnet_w48.pdparams
hrfamily convert hf-hub:timm/hrnet_w18.ms_aug_in1k hrnet_w18_imagenet.safetensors
hrfamily convert checkpoint.pth.tar out.pdparams --model hrnet_w18_small_v2 --num_classes 11

The network is found out from the tensors' shapes unless --model names it, and every tensor of it must be there: the
whole of it, or its backbone where the weights have no head for it. The padding that the weights need is written along,
and the corner handling of a whole network where it is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import paddle
    from paddle import nn

    from paddle_hrfamily.backbones import ddrnet
    from paddle_hrfamily.layers import Padding
    from paddle_hrfamily.multires import Layout

_AUXILIARY = "head.auxiliary."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="a file, a URL or hf-hub:OWNER/REPO[/FILE]")
    parser.add_argument("target", metavar="OUT", type=Path, help="*.pdparams or *.safetensors")
    parser.add_argument("--model", help="the network that the weights are for, one of `hrfamily list`")
    parser.add_argument("--num_classes", type=int, help="classes of the network, if not the weights' own")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    flags.add_plugin(parser)


def run(args: argparse.Namespace) -> None:
    from paddle_hrfamily import system

    system.require_paddle()
    from paddle_hrfamily import weights
    from paddle_hrfamily.integration import plugins
    from paddle_hrfamily.weights.files import SUFFIXES, open_weights
    from paddle_hrfamily.weights.loading import canonical
    from paddle_hrfamily.weights.published import about

    plugins.load(args.plugin)
    if args.target.suffix not in SUFFIXES:
        raise UserError(f"cannot tell the format of {args.target}: name it *{' or *'.join(SUFFIXES)}")
    if args.target.exists() and not args.force:
        raise UserError(f"{args.target} exists; --force overwrites it")
    published = about(args.source)
    contents = open_weights(weights.fetch(args.source, sha256=published.sha256 if published else ""))
    layout, arrays = canonical(contents, args.source)
    padding = cast("Padding | None", contents.padding or layout.padding)
    name = args.model or _network(arrays, args.source)
    corners = published.align_corners if published is not None else contents.align_corners
    model = _build(name, arrays, args.num_classes, padding, corners)
    whole = not _head(model.state_dict()).isdisjoint(arrays)
    report = weights.load_weights(model, args.source, part="all" if whole else "backbone", strict=False)
    state, stated = model.state_dict(), corners if whole else None
    weights.save({key: state[key] for key in report.matched}, args.target, padding=padding, align_corners=stated)
    print(report)
    print(f"wrote the {'network' if whole else 'backbone'} of {name} to {args.target}")


def _build(
    name: str, arrays: dict[str, np.ndarray], num_classes: int | None, padding: Padding | None, corners: bool | None
) -> nn.Layer:
    """The network of that name, for the classes and channels of the tensors, and with deep supervision if they have."""
    import paddle

    from paddle_hrfamily import zoo

    stem = arrays.get("backbone.stem.conv1.conv.weight")
    build = partial(
        zoo.create_model,
        name,
        in_channels=stem.shape[1] if stem is not None else 3,
        padding=padding,
        align_corners=corners,
        auxiliary=True if any(key.startswith(_AUXILIARY) for key in arrays) else None,
    )
    if num_classes is None:
        with paddle.LazyGuard():
            num_classes = _classes(build().state_dict(), arrays)
    return build(num_classes)


def _classes(state: dict[str, paddle.Tensor], arrays: dict[str, np.ndarray]) -> int | None:
    """Classes of the tensors, if other than the network's: the length of its classifier's bias."""
    shapes = {key: (tuple(state[key].shape), arrays[key].shape) for key in _head(state) & set(arrays)}
    differing = [theirs for ours, theirs in shapes.values() if ours != theirs and len(theirs) == 1]
    return differing[0][0] if differing else None


def _network(arrays: dict[str, np.ndarray], source: str) -> str:
    """The zoo's name of the network that the tensors are of; where they have no head, the first with their backbone."""
    import paddle

    from paddle_hrfamily import zoo

    family, variant = _backbone(arrays, source)
    names = [name for name in zoo.list_models(f"{family}_*") if zoo.find(name).variant == variant]
    with paddle.LazyGuard():
        for name in names:
            if _head(zoo.create_model(name).state_dict()) == _head(arrays):
                return name
    return names[0]


def _head(names: Iterable[str]) -> set[str]:
    """The names in the head, save those of deep supervision, which a network may go without."""
    return {name for name in names if name.startswith("head.") and not name.startswith(_AUXILIARY)}


def _backbone(arrays: dict[str, np.ndarray], source: str) -> tuple[str, str]:
    """Family and variant of the backbone's tensors."""
    from paddle_hrfamily.backbones import ddrnet, hrnet, uhrnet

    if any(key.startswith("backbone.conv5.") for key in arrays):
        family = "ddrnet"
        found = [name for name, layout in ddrnet.VARIANTS.items() if _describes_ddrnet(layout, arrays)]
    else:
        family, variants = ("uhrnet", uhrnet.VARIANTS) if _streams(arrays, 3) == 2 else ("hrnet", hrnet.VARIANTS)
        found = [name for name, layout in variants.items() if _describes(layout, arrays)]
    if not found:
        raise UserError(f"{source}: its shapes are of none of the networks here; name one with --model if it should be")
    return family, found[0]


def _describes_ddrnet(layout: ddrnet.Layout, arrays: dict[str, np.ndarray]) -> bool:
    stem = "backbone.stem"
    return (
        _width(arrays, f"{stem}.conv1.conv.weight") == layout.width
        and _count(arrays, f"{stem}.blocks2.") == layout.conv2
        and _count(arrays, "backbone.conv4.") == len(layout.conv4)
    )


def _describes(layout: Layout, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the tensors have this layout's widths and depths."""
    stem = "backbone.stem.blocks"
    branch = "backbone.stages.0.0.branches.4"
    return (
        _width(arrays, f"{branch}.0.conv1.conv.weight") == layout.width
        and _width(arrays, f"{stem}.0.conv1.conv.weight") == layout.stem_width
        and _count(arrays, f"{stem}.") == layout.stem_blocks
        and _count(arrays, f"{branch}.") == layout.blocks
        and all(_count(arrays, f"backbone.stages.{i}.") == stage.modules for i, stage in enumerate(layout.stages))
    )


def _width(arrays: dict[str, np.ndarray], name: str) -> int:
    return len(arrays[name]) if name in arrays else 0


def _count(arrays: dict[str, np.ndarray], prefix: str) -> int:
    """How many numbers follow the prefix in the names."""
    return len({name[len(prefix) :].split(".")[0] for name in arrays if name.startswith(prefix)})


def _streams(arrays: dict[str, np.ndarray], stage: int) -> int:
    """How many branches the stage of that index has; HRNet has no stage beyond its third."""
    return _count(arrays, f"backbone.stages.{stage}.0.branches.")
