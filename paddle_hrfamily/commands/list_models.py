"""List the models; those that a pattern names with their parameters and GFLOPs.

hrfamily list
hrfamily list 'uhrnet_*'
hrfamily list 'ddrnet_23*' --size 512 1024

GFLOPs are counted as the model's own paper counts them, at the image size that it counts them at. What it publishes
stands beside them, with the deviation of the counted figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", help="a name, or a shell pattern; counting takes a second or so for each")
    parser.add_argument("--num_classes", type=int, help="of the head (default: what the model is for)")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the image (default: the paper's)"
    )
    flags.add_plugin(parser)


def run(args: argparse.Namespace) -> None:
    """Print every name, or count each network that matches from its shapes and print its row at once."""
    from paddle_hrfamily import system

    system.require_paddle()
    from paddle_hrfamily import zoo
    from paddle_hrfamily.complexity import complexity
    from paddle_hrfamily.integration import plugins

    plugins.load(args.plugin)

    names = zoo.list_models(args.pattern or "*")
    if not names:
        raise unknown("model", args.pattern, zoo.entries())
    width = max(map(len, names)) + 2
    if args.pattern is None:
        for name in names:
            print(f"{name:<{width}}{zoo.find(name).config}")
        print(f"{len(names)} models; hrfamily list '{names[0].split('_')[0]}_*' counts parameters and GFLOPs")
        return
    components = max(len(zoo.find(name).config) for name in names) + 2
    print(f"{'model':<{width}}{'config':<{components}}{'parameters (M)':>15}{'GFLOPs':>10}  {'at':<11}published")
    for name in names:
        entry = zoo.find(name)
        image = tuple(args.size or entry.size)
        classes = args.num_classes if entry.num_classes else None  # a pyramid has none
        count = complexity(partial(zoo.create_model, name, classes), *image)
        figures = count.parameters / 1e6, getattr(count, entry.rule)
        cost = f"{figures[0]:>15.3f}{figures[1]:>10.3f}  {f'{image[0]}x{image[1]}':<11}"
        at_paper = image == entry.size and args.num_classes is None
        published = _deviation(figures, entry.published) if at_paper and entry.published else ""
        print(f"{name:<{width}}{entry.config:<{components}}{cost}{published}".rstrip(), flush=True)
    for rule in sorted({zoo.find(name).rule for name in names}):
        print(f"GFLOPs {RULES[rule]}")


def _deviation(counted: Sequence[float], published: Sequence[float | None]) -> str:
    """The published figures, each with how far the counted one is from it."""
    pairs = zip(counted, published)
    return ", ".join(f"{theirs:g} ({ours / theirs - 1:+.1%})" for ours, theirs in pairs if theirs is not None)


# What the numbers of `Complexity` are, in words.
RULES = {
    "giga": "of the HRNet and U-HRNet papers: multiply-accumulates / 2^30",
    "billion": "of SPGNet: multiply-accumulates / 10^9",
    "billion_with_biases": "of DDRNet: multiply-accumulates and additions of biases / 10^9",
    "billion_by_fvcore": "of DDRNet's classification networks: with batch norms and resizes / 10^9",
}
