"""Convert published weights of any readable layout to this package's own .pdparams or .safetensors.

hrfamily convert hrnet_w48_cityscapes.pth hrnet_w48.pdparams
hrfamily convert hf-hub:timm/hrnet_w18.ms_aug_in1k hrnet_w18_imagenet.safetensors
hrfamily convert checkpoint.pth.tar out.pdparams --model hrnet_w18_small_v2 --num_classes 11

The network is found out from the tensors' shapes unless --model names it, and every tensor of it must be there: the
whole of it, or its backbone where the weights have no head for it. The padding that the weights need is written along.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from paddle import nn

    from paddle_hrfamily.layers import Padding
    from paddle_hrfamily.multires import Layout
    from paddle_hrfamily.zoo import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="a file, a URL or hf-hub:OWNER/REPO[/FILE]")
    parser.add_argument("target", metavar="OUT", type=Path, help="*.pdparams or *.safetensors")
    parser.add_argument("--model", help="the network that the weights are for, one of `hrfamily list`")
    parser.add_argument("--num_classes", type=int, help="classes of the network, if not the weights' own")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")


def run(args: argparse.Namespace) -> None:
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    from paddle_hrfamily import weights
    from paddle_hrfamily.weights.files import SUFFIXES, open_weights
    from paddle_hrfamily.weights.loading import canonical

    if args.target.suffix not in SUFFIXES:
        raise UserError(f"cannot tell the format of {args.target}: name it *{' or *'.join(SUFFIXES)}")
    if args.target.exists() and not args.force:
        raise UserError(f"{args.target} exists; --force overwrites it")
    contents = open_weights(weights.fetch(args.source))
    layout, arrays = canonical(contents, args.source)
    padding = contents.padding or layout.padding
    entry = _entry(args.model, arrays, args.source)
    model = _build(entry, arrays, args.num_classes, padding)
    whole = "head.classify.weight" in arrays
    report = weights.load_weights(model, args.source, part="all" if whole else "backbone", strict=False)
    state = model.state_dict()
    weights.save({name: state[name] for name in report.matched}, args.target, padding=padding)
    print(report)
    part = "network" if whole else "backbone"
    print(f"wrote the {part} of {entry.backbone.__name__} {entry.variant} to {args.target}")


def _build(entry: Entry, arrays: dict[str, np.ndarray], num_classes: int | None, padding: Padding | None) -> nn.Layer:
    classifier = arrays.get("head.classify.weight")
    classes = num_classes or (len(classifier) if classifier is not None else 1)
    stem = arrays.get("backbone.stem.conv1.conv.weight")
    in_channels = stem.shape[1] if stem is not None else 3
    backbone = entry.backbone(entry.variant, in_channels=in_channels, padding=padding)
    return entry.model(backbone, classes)


def _entry(name: str | None, arrays: dict[str, np.ndarray], source: str) -> Entry:
    from paddle_hrfamily import zoo

    if name is not None:
        return zoo.find(name)
    from paddle_hrfamily.backbones import hrnet, uhrnet

    family, variants = ("uhrnet", uhrnet.VARIANTS) if _streams(arrays, 3) == 2 else ("hrnet", hrnet.VARIANTS)
    for variant, layout in variants.items():
        if _describes(layout, arrays):
            return zoo.find(f"{family}_{variant.lower()}")
    raise UserError(f"{source}: its shapes are of none of the networks here; name one with --model if it should be")


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
