"""List this package's configs: what each is, which paper's recipe it follows, and what was published.

hrfamily configs
hrfamily configs 'ddrnet_*'
hrfamily configs hrnet_w48_cityscapes --recipes
hrfamily configs --copy ddrnet_23_slim_cityscapes --output mine.yml

`--config NAME.yml` of the other commands finds each of them by its name, and so does `_base_: NAME.yml` in a config of
your own. --copy writes one as a file to change, its bases merged in and its comments kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddle_hrfamily.errors import UserError, unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help="a name, or a shell pattern")
    parser.add_argument(
        "--recipes",
        action="store_true",
        help="losses, schedule, augmentation, evaluation: a config's by line, or all as configs/RECIPES.md",
    )
    copying = parser.add_argument_group("a copy to change").add_argument
    copying("--copy", metavar="NAME", help="the config to write, whole")
    copying("--output", type=Path, metavar="FILE.yml", help="with --copy (default: NAME.yml here)")
    copying("--force", action="store_true", help="with --copy: write over a file that is there")


def run(args: argparse.Namespace) -> None:
    """Print a line a config, or the recipes; or write a copy."""
    from paddle_hrfamily import system

    system.require_paddle()
    from paddle_hrfamily.integration import recipes
    from paddle_hrfamily.integration.config_sources import packaged_configs

    if args.copy is not None:
        _copy(args.copy, args.output, force=args.force)
        return
    if args.output is not None or args.force:
        raise UserError("--output and --force are for --copy NAME")
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


def _copy(name: str, output: Path | None, *, force: bool) -> None:
    from paddle_hrfamily.files import write_text
    from paddle_hrfamily.integration import config_text
    from paddle_hrfamily.integration.config_sources import packaged_configs

    packaged = packaged_configs()
    file = packaged.get(f"{name.removesuffix('.yml')}.yml")
    if file is None:
        raise unknown("config", name, [known.removesuffix(".yml") for known in packaged])
    target = output or Path(file.name)
    if target.suffix not in (".yml", ".yaml"):
        raise UserError(f"--output {target}: a config's name ends in .yml")
    if target.exists() and (not force or target.samefile(file)):
        raise UserError(f"{target} is there already; name another file with --output, or write over it with --force")
    write_text(target, config_text.merged(file))
    print(f"{file.stem} is in {target}, whole; change it, then: hrfamily train --config {target}")
