"""List the models with their parameters and GFLOPs.

hrfamily list
hrfamily list 'uhrnet_*' --size 512 1024
"""

from __future__ import annotations

import argparse

from paddle_hrfamily.errors import unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help="a name, or a shell pattern (default: all)")
    parser.add_argument("--num_classes", type=int, help="classes of the head (default: 19, or what the network is for)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of the image (default: what the network's paper counts at)",
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
    print(f"{'model':<24}{'config':<37}{'parameters (M)':>15}{'GFLOPs':>10}  at")
    for name in names:
        entry = zoo.find(name)
        height, width = args.size or entry.size
        classes = args.num_classes if entry.num_classes else None
        count = complexity(lambda name=name, classes=classes: zoo.create_model(name, classes), height, width)
        counts = f"{count.parameters / 1e6:>15.3f}{count.giga:>10.3f}"
        print(f"{name:<24}{entry.config:<37}{counts}  {height}x{width}", flush=True)
    print("GFLOPs: multiply-accumulates / 2^30 of convolutions and linear layers, as the HRNet papers count them")
