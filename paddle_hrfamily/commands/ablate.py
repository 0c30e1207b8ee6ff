"""Compare variants over several seeds, resumably, and write the table with mean ± spread.

    hrfamily ablate ddrnet_context --dry-run
    hrfamily ablate ddrnet_context --seeds 0 1 2 --iters 300
    hrfamily ablate my_suite.yml --config hrnet_w18_small_v2_camvid.yml --rows baseline wider --save_dir output/ablate
    hrfamily ablate --folds my_data_fold*.yml

A suite names rows, each a config with a few changes; configs/ablations/ has the papers' own ablations. A row is trained
and evaluated by `hrfamily train` and `hrfamily val`; say the same again after a kill: finished runs are not repeated,
the one that was killed goes on from its checkpoint. The table is SAVE_DIR/SUITE/table.md, and table.json beside it.
With --folds, the rows are the configs that `hrfamily new --folds` wrote, and a second table has the means over them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from paddleseg.cvlibs import Config

    from paddle_hrfamily.ablation.runs import Children
    from paddle_hrfamily.ablation.suite import Row, Suite
    from paddle_hrfamily.ablation.table import Line

    Plan = list[tuple[Line, Config | None]]  # each row, and what to run, if it is to run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="?", help="YAML file with rows: a path, or the name of one in configs/ablations")
    parser.add_argument(
        "--folds", nargs="+", metavar="FILE", help="configs of one data set's folds, in a suite's place"
    )
    group = parser.add_argument_group("config of every row")
    group.add_argument("--config", help="what rows start from, instead of the suite's config")
    flags.add_changes(group)
    group.add_argument("--iters", type=flags.positive, help="iterations, instead of the config's")
    group.add_argument("--batch_size", type=flags.positive, help="images a device and iteration, instead of its own")
    group.add_argument("--learning_rate", type=float, help="initial learning rate, instead of the config's")
    add = parser.add_argument_group("what is run").add_argument
    add("--rows", nargs="+", metavar="NAME", help="run these alone")
    add("--seeds", nargs="+", type=int, help="default: 0 1 2; of folds 0")
    add("--dry-run", "--dry_run", action="store_true", help="print what would be run, run nothing")
    add = parser.add_argument_group("output").add_argument
    add("--save_dir", type=Path, default=Path("output/ablate"), help="default: %(default)s")
    add("--save_interval", type=flags.positive, default=100, help="iterations that a kill can cost")
    flags.add_num_workers(flags.add_device(parser))


def run(args: argparse.Namespace) -> int:
    """Look at all rows, run what is not done yet, write the table. Returns 1 if a row lacks a result, else 0."""
    flags.register(args)
    from paddle_hrfamily.ablation import runs

    suite = _suite(args)
    args.seeds = args.seeds or ([0] if suite.folds else [0, 1, 2])
    folder = args.save_dir / suite.name
    if args.dry_run:
        plan = _plan(suite, folder, args)
        _print_plan(suite, plan, args.seeds)
    else:
        with runs.alone(folder) as lock, runs.terminated_like_interrupted():
            plan = _plan(suite, folder, args)
            _print_plan(suite, plan, args.seeds)
            children = runs.Children(args.device, args.num_workers, args.save_interval, tuple(args.plugin), lock)
            _carry_out(suite, plan, args.seeds, folder, children)
    return int(any(line.problem for line, _ in plan))


def _suite(args: argparse.Namespace) -> Suite:
    from paddle_hrfamily.ablation.suite import read_suite, suite_of_folds

    if (args.suite is None) == (args.folds is None):
        raise UserError("give a suite, or the configs of folds: hrfamily ablate --folds my_data_fold*.yml")
    if args.folds is None:
        return read_suite(args.suite, args.config)
    if args.config is not None:
        raise UserError(f"--config {args.config}: folds are configs themselves; leave it out")
    return suite_of_folds(args.folds)


def _plan(suite: Suite, folder: Path, args: argparse.Namespace) -> Plan:
    """The rows asked for, and, for the table alone, others that have been run before."""
    selected = suite.select(args.rows)
    plan: Plan = []
    for row in suite.rows:
        if row in selected:
            plan.append(_planned(row, folder, args))
        elif (folder / row.name).is_dir():
            line, _ = _planned(row, folder, args)
            plan += [(line, None)] if line.results else []
    return plan


def _planned(row: Row, folder: Path, args: argparse.Namespace) -> tuple[Line, Config | None]:
    from paddle_hrfamily.ablation import runs
    from paddle_hrfamily.ablation.table import Line
    from paddle_hrfamily.integration import config_file

    line = Line(row.name, row.published)
    try:
        config = row.resolved(
            learning_rate=args.learning_rate, batch_size=args.batch_size, iters=args.iters, opts=args.opts
        )
        runs.check_same(folder / row.name, config_file.resolved(config))
        line.parameters = runs.parameters(config)
    except (UserError, runs.Failed) as error:
        line.problem = str(error)
        return line, None
    line.results = runs.results(folder / row.name)
    return line, config


def _print_plan(suite: Suite, plan: Plan, seeds: list[int]) -> None:
    print(f"{suite.name}: {suite.source}")
    for line, config in plan:
        if config is None or line.parameters is None:
            print(f"  {line.name}: {line.problem or 'run before'}")
            continue
        done = {result["seed"] for result in line.results}
        left = [seed for seed in seeds if seed not in done]
        work = f"to run with seed {', '.join(map(str, left))}" if left else "done"
        print(f"  {line.name}: {line.parameters / 1e6:.4f} M parameters, {config.iters} iterations, {work}")


def _carry_out(suite: Suite, plan: Plan, seeds: list[int], folder: Path, children: Children) -> None:
    """Every row with the first seed, then with the next: a table of all rows is there early."""
    from paddle_hrfamily.ablation import runs, table

    lines = [line for line, _ in plan]
    try:
        for seed in dict.fromkeys(seeds):
            for line, config in plan:
                if config is None or any(result["seed"] == seed for result in line.results):
                    continue
                print(f"{line.name}, seed {seed} …", flush=True)
                try:
                    result = runs.run(folder / line.name, config, seed, children)
                except runs.Failed as error:
                    line.problem = f"seed {seed}: {error}"
                    print(f"  {error}")
                    continue
                line.results.append(result)
                print(f"  mIoU {result['miou']:.4f}, final loss {result['loss']:.4f}")
                table.write(folder, suite, lines)
    finally:
        print(f"\n{table.write(folder, suite, lines)}\nThe table is {folder / table.MARKDOWN}")
