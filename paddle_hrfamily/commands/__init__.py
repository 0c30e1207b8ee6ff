"""The commands of `hrfamily`: a module each, which says what it takes and does it.

The first line of a module's docstring is its summary in --help, `add_arguments(parser)` says what it takes, and
`run(args)` does it and returns the exit status, None being 0. Importing a module imports nothing heavy: what a command
needs is imported when it runs. Those that need an exported folder alone are hrfamily_deploy's.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType

from hrfamily_deploy.scripts import command_line
from paddle_hrfamily.errors import UserError

# Name on the command line -> its module, in the order that --help shows them.
COMMANDS = {
    **{
        name: f"{__name__}.{name}"
        for name in (
            "quickstart",
            "new",
            "train",
            "val",
            "predict",
            "export",
            "verify",
            "curves",
            "compare",
            "explain",
            "ablate",
        )
    },
    "list": f"{__name__}.list_models",
    "configs": f"{__name__}.list_configs",
    **{name: f"{__name__}.{name}" for name in ("weights", "convert", "trainids", "doctor")},
    **{name: f"hrfamily_deploy.scripts.{module}" for name, module in command_line.COMMANDS.items()},
}


def module_of(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(COMMANDS[name])


def summary(name: str) -> str:
    """What a command does, in a line."""
    return (module_of(name).__doc__ or "").partition("\n")[0]


def parser(name: str, prog: str) -> argparse.ArgumentParser:
    """The parser of a command, whose errors are one line."""
    if name in command_line.COMMANDS:
        return command_line.parser(name, prog)
    made = command_line.Parser(
        prog=prog, description=module_of(name).__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module_of(name).add_arguments(made)
    return made


def run_command(name: str, argv: Sequence[str], prog: str) -> int:
    """Parse `argv` for the command and run it. Returns the exit status: its own, or 2 for bad input, said in a line."""

    def parsed_and_run() -> int:
        try:
            return module_of(name).run(parser(name, prog).parse_args(argv)) or 0
        except KeyboardInterrupt:
            if name in command_line.COMMANDS:
                raise
            raise UserError("interrupted") from None

    return command_line.run(parsed_and_run)
