"""Make a config of your own images: look, convert, split, and write it; nothing is trained.

    hrfamily new my_data/ --model ddrnet_23_slim
    hrfamily train --config my_data.yml --do_eval

The folder holds images and masks in parallel folders (grey, palette or in colour), PASCAL VOC, Cityscapes, labelme's or
COCO's JSON, an export of CVAT or Label Studio, or lists of pairs. It stays as it is: what is converted goes to
my_data_prepared/, beside a contact sheet to look at. A question ends the command and names the flag that answers it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from paddle_hrfamily.data.importing.preparing import Record
    from paddle_hrfamily.data.importing.source import Answers, Source
    from paddle_hrfamily.data.importing.splitting import Split
    from paddle_hrfamily.integration.own_config import Plan

    Recipe = tuple[Plan, dict[str, Any]]

_SHEET = "contact_sheet.png"
_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="that holds the images and their labels; it is only read")
    parser.add_argument("--model", default="ddrnet_23_slim", help="a name of `hrfamily list` (default: %(default)s)")
    parser.add_argument("--output", metavar="FILE.yml", help="the config (default: FOLDER.yml here)")
    parser.add_argument("--force", action="store_true", help="write over a config that is there")
    reading = parser.add_argument_group("how the folder is read").add_argument
    reading("--layout", metavar="NAME", help="cityscapes, lists, voc, labelme, coco, label_studio or folders")
    reading("--classes", metavar="NAMES", help="names between commas, in the order of their numbers")
    reading("--colors", nargs="+", metavar="R,G,B", help="of masks in colour, in the order of --classes")
    reading("--ignore", metavar="VALUE", help="value or R,G,B of masks that is no class, or none")
    splitting = parser.add_argument_group("who trains and who validates").add_argument
    splitting("--val_share", type=float, default=0.2, help="of the images, 0..1 (default: %(default)s)")
    splitting("--seed", type=int, default=0, help="of the drawing (default: %(default)s)")
    splitting("--group-by", metavar="PATTERN", help=r"keep images together whose names begin alike: '(.*)_\d+'")
    splitting("--folds", type=int, metavar="N", help="N configs, FOLDER_fold0.yml …, for hrfamily ablate --folds")
    choices = parser.add_argument_group("what is chosen for you").add_argument
    choices("--crop", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of training")
    choices("--batch_size", type=int, help="images in a step")
    choices("--iters", type=int, help="steps")
    choices("--pretrained", metavar="NAME", help="weights to begin from: a name of `hrfamily weights`, a file, or none")


def run(args: argparse.Namespace) -> None:
    """Read, say what was found, draw the labels, split, and write lists, contact sheet and config.

    Raises:
        UserError: there is nothing to train on, something is wrong with it, or a question is open.
    """
    from paddle_hrfamily import system

    _check(args)
    os.environ.setdefault("GLOG_minloglevel", "2")  # counting a network makes Paddle warn of its own graphs
    system.require_paddle()
    from paddle_hrfamily.data.importing import layouts, preparing, splitting
    from paddle_hrfamily.integration import own_config

    own_config.network(args.model)  # a wrong name costs no conversion
    root = Path(args.folder).expanduser()
    output = Path(args.output) if args.output else Path(f"{root.absolute().name}.yml")
    targets = [output.with_name(f"{output.stem}_fold{n}.yml") for n in range(args.folds)] if args.folds else [output]
    for target in targets:
        if target.exists() and not args.force:
            raise UserError(f"{target} is there already; name another with --output, or write over it with --force")
    prepared = output.with_name(f"{output.stem}_prepared")

    source = layouts.find(root, _answers(args))
    records = preparing.prepare(source, prepared)
    labelled = [record for record in records if record.label is not None]
    for line in _findings(source, records):
        print(line)
    if not labelled:
        raise UserError(f"{root}: no image has a label; see how labels must be called in README")
    shown = _contact_sheet(source, labelled, prepared / _SHEET)
    if args.folds:
        parts = splitting.folds(labelled, args.folds, args.seed, args.group_by)
    else:
        parts = [splitting.split(labelled, args.val_share, args.seed, args.group_by)]
    # Folds are the same recipe, whoever validates: it is chosen once, for all of the images.
    recipe = _recipe(args, source, labelled if args.folds else parts[0].train)
    for number, (target, part) in enumerate(zip(targets, parts)):
        _write(args, source, part, recipe, target, prepared / f"fold{number}" if args.folds else prepared)
    print(f"look at {shown} before training; then: hrfamily train --config {targets[0]} --do_eval")


def _check(args: argparse.Namespace) -> None:
    if not 0 < args.val_share < 1:
        raise UserError(f"--val_share {args.val_share}: give a share between 0 and 1, such as 0.2")
    if args.folds is not None and args.folds < 2:
        raise UserError(f"--folds {args.folds}: give 2 or more")
    for name in ("batch_size", "iters"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: give a whole number of 1 or more")
    if args.output and Path(args.output).suffix not in (".yml", ".yaml"):
        raise UserError(f"--output {args.output}: a config's name ends in .yml")


def _answers(args: argparse.Namespace) -> Answers:
    from paddle_hrfamily.data.importing.source import Answers

    classes = [name.strip() for name in args.classes.split(",")] if args.classes else []
    if len(set(classes)) < len(classes) or "" in classes:
        raise UserError(f"--classes {args.classes}: give each class a name of its own, between commas")
    colors = []
    for text in args.colors or ():
        parts = text.split(",")
        if len(parts) != 3 or not all(part.strip().isdigit() and int(part) <= 255 for part in parts):
            raise UserError(f"--colors {text}: write R,G,B of 0..255, such as 128,0,0")
        red, green, blue = map(int, parts)
        colors.append((red, green, blue))
    return Answers(args.layout, classes, colors, args.ignore)


def _findings(source: Source, records: Sequence[Record]) -> Iterator[str]:
    """What is to be known of the data, a line each."""
    from paddle_hrfamily.data.importing.preparing import doubles, leaks

    labelled = [record for record in records if record.pixels]
    sizes = sorted({(record.width, record.height) for record in records})
    spread = "{}x{}".format(*sizes[0]) if len(sizes) == 1 else "{}x{} to {}x{}".format(*sizes[0], *sizes[-1])
    yield f"{source.layout}: {len(labelled)} images with labels, {spread}"
    totals = [sum(column) for column in zip(*(record.pixels for record in labelled))]
    whole = sum(totals) or 1
    counted = [*zip(source.names, totals), *([("no class", totals[-1])] if totals and totals[-1] else [])]
    shares = [f"{name} {total / whole:.1%}" for name, total in counted]
    yield f"{len(source.names)} classes by share of pixels: {', '.join(shares)}"
    bare = [record for record in records if record.label is None]
    if bare:
        yield f"{len(bare)} images have no label and are left out, such as {bare[0].image}"
    for note in source.notes:
        yield f"note: {note}"
    same = doubles(records)
    if same:
        yield f"{len(same)} images are there more than once, such as {same[0][0].image} and {same[0][1].image}"
    leaked = leaks(records)
    if leaked:
        first, second = leaked[0]
        yield (
            f"{len(leaked)} images train and are tested on as well ({first.image} in {first.split}, {second.image} in "
            f"{second.split}): scores will flatter"
        )


def _contact_sheet(source: Source, records: Sequence[Record], path: Path) -> Path:
    """A picture of some images with their labels laid over, spread evenly over the data."""
    import numpy as np
    from PIL import Image

    from hrfamily_deploy.imaging import image_files
    from paddle_hrfamily.data.classes import ClassTable
    from paddle_hrfamily.data.importing.source import colors_of
    from paddle_hrfamily.data.paired_dataset import Relabel
    from paddle_hrfamily.visualization import contact_sheet

    table = ClassTable(source.names, colors_of(source))
    chosen = records[:: -(-len(records) // _SHOWN)]
    relabel = Relabel(dict(source.relabel or {}))
    cells = []
    for record in chosen:
        with Image.open(str(record.label)) as label:
            drawn = relabel({"label": np.asarray(label)})["label"]
        cells.append((Path(record.image).name, image_files.visible(Path(record.image)), drawn))
    image_files.write(path, contact_sheet.sheet(cells, table))
    return path


def _recipe(args: argparse.Namespace, source: Source, train: Sequence[Record]) -> Recipe:
    from paddle_hrfamily.integration import own_config

    chosen = own_config.plan(
        args.model,
        train,
        len(source.names),
        own_config.Machine.read(),
        crop=tuple(args.crop) if args.crop else None,
        batch=args.batch_size,
        iters=args.iters,
        pretrained=args.pretrained,
    )
    return chosen, own_config.normalization([Path(record.image) for record in train])


def _write(args: argparse.Namespace, source: Source, part: Split, recipe: Recipe, target: Path, folder: Path) -> None:
    from hrfamily_deploy.files import replacing
    from paddle_hrfamily.data.importing.source import colors_of
    from paddle_hrfamily.data.own_data import write_list
    from paddle_hrfamily.integration import own_config

    lists = {}
    for mode in ("train", "val", "test"):
        records = getattr(part, mode)
        if records:
            path = folder / f"{mode}.txt"
            with replacing(path) as draft:
                draft.write_text(write_list(path, [(Path(r.image), Path(r.label)) for r in records]), encoding="utf-8")
            lists[mode] = str(path)
    chosen, normalize = recipe
    heading = [
        f"{args.folder}: {source.layout}; {len(part.train)} images train, {len(part.val)} validate.",
        "Made by `hrfamily new`; yours to change.",
    ]
    if normalize["type"] == "NormalizeBands":
        bands = "1 band" if len(normalize["mean"]) == 1 else f"{len(normalize['mean'])} bands"
        heading.append(f"{bands} of {normalize['dtype']}, read as they are stored.")
        print(f"{target}: {heading[-1]}")
    content = own_config.config(chosen, lists, source.names, colors_of(source), dict(source.relabel or {}), normalize)
    with replacing(target) as draft:
        draft.write_text(own_config.text(content, chosen, heading), encoding="utf-8")
    sizes = f"{len(part.train)} train, {len(part.val)} validate" + (f", {len(part.test)} test" if part.test else "")
    crop = "{}x{}".format(*chosen.crop.value)  # type: ignore[misc]
    print(f"{target}: {sizes}; {args.model}, crop {crop}, batch {chosen.batch.value}, {chosen.iters.value} iterations")
