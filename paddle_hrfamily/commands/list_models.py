"""List the models with their parameters and GFLOPs.

hrfamily list
hrfamily list 'uhrnet_*' --size 512 1024
"""

from __future__ import annotations

import argparse

from paddle_hrfamily.errors import unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help="a name, or a shell pattern (default: all)")
    parser.add_argument("--num_classes", type=int, default=19, help="classes of the head (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(1024, 2048),
        metavar=("HEIGHT", "WIDTH"),
        help="default: 1024 2048",
    )


def run(args: argparse.Namespace) -> None:
    """Count each network from its shapes and print its row at once."""
    from paddle_hrfamily.host import environment

    environment.require_paddle()
    from paddle_hrfamily import zoo
    from paddle_hrfamily.complexity import complexity

    names = zoo.list_models(args.pattern)
    if not names:
        raise unknown("model", args.pattern, zoo.MODELS)
    height, width = args.size
    print(f"{'model':<22}{'config':<34}{'parameters (M)':>15}{'GFLOPs':>10}")
    for name in names:
        entry = zoo.find(name)
        count = complexity(lambda name=name: zoo.create_model(name, args.num_classes), height, width)
        print(f"{name:<22}{entry.config:<34}{count.parameters / 1e6:>15.3f}{count.giga:>10.3f}", flush=True)
    print(f"GFLOPs: multiply-accumulates / 2^30 of convolutions at {height}x{width}, as the HRNet papers count them")
