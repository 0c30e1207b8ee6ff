"""List this package's configs: what each is, which paper's recipe it follows, and what was published.

hrfamily configs
hrfamily configs 'ddrnet_*'
hrfamily configs hrnet_w48_cityscapes --recipes

`--config NAME.yml` of the other commands finds each of them by its name.
"""

from __future__ import annotations

import argparse

from paddle_hrfamily.errors import unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help="a name, or a shell pattern")
    parser.add_argument(
        "--recipes",
        action="store_true",
        help="losses, schedule, augmentation, evaluation: a config's by line, or all as configs/RECIPES.md",
    )


def run(args: argparse.Namespace) -> None:
    """Print a line a config, or the recipes."""
    from paddle_hrfamily import system

    system.require_paddle()
    from paddle_hrfamily.integration import recipes
    from paddle_hrfamily.integration.config_file import packaged_configs

    pattern = args.pattern.removesuffix(".yml")
    if args.recipes and pattern == "*":
        print(recipes.page(), end="")
        return
    found = recipes.recipes(pattern)
    if not found:
        raise unknown("config", pattern, [name.removesuffix(".yml") for name in packaged_configs()])
    width = max(len(recipe.name) for recipe in found) + 2
    for recipe in found:
        if args.recipes:
            print(
                recipe.name,
                *(f"  {name}: {value}" for name, value in list(recipe.row().items())[1:] if value),
                sep="\n",
            )
        else:
            published = ": ".join(part for part in (recipe.source, recipe.score) if part)
            print(f"{recipe.name:<{width}}{recipe.title}{f' ({published})' if published else ''}")
