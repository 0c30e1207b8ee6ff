"""The commands: `python -m hrfamily_deploy COMMAND …`, what `deploy/*.py` run, and a part of what `hrfamily` offers.

A command is a module beside this one. The first line of its docstring is its summary, the rest are examples and notes;
`add_arguments(parser)` says what it takes and `run(args)` does it and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn

from hrfamily_deploy.errors import UserError

# A command's name -> its module in this folder, which is also the name of its script in deploy/.
COMMANDS = {
    "infer": "infer",
    "serve": "serve",
    "client": "client",
    "benchmark": "benchmark",
    "onnx": "to_onnx",
    "triton": "to_triton",
    "quantize": "quantize",
    "ray": "ray_app",
}
_PACKAGE = "python -m hrfamily_deploy"
_EXAMPLE = re.compile(rf"\bhrfamily ({'|'.join(COMMANDS)})\b")


class Parser(argparse.ArgumentParser):
    """Its errors are one line, as all others, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def run(main: Callable[[], int]) -> int:
    """The exit status of `main`: its own, 2 for bad input, 130 where it was interrupted.

    It is 141 where nobody reads the output any more, as of `… | head`: what a shell reports of a program that a closed
    pipe ends.
    """
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains of it at its end
        return 141


def main(name: str, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command. Returns the exit status.

    Args:
        name: one of COMMANDS.
        argv: its arguments; those of this process if None.
        prog: what messages call it; the name of its script if None.
    """

    def parsed() -> int:
        made = parser(name, prog)
        return module(name).run(made.parse_args(argv))

    return run(parsed)


def package_main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, as `python -m hrfamily_deploy` does. Returns the exit status."""

    def chosen() -> int:
        asked, *rest = (sys.argv[1:] if argv is None else argv) or [""]
        if asked in COMMANDS:
            return main(asked, rest, f"{_PACKAGE} {asked}")
        if asked in ("", "-h", "--help"):
            print(_usage())
            return 0 if asked else 2
        raise UserError(f"no command {asked!r}; there are {', '.join(COMMANDS)}")

    return run(chosen)


def parser(name: str, prog: str | None = None) -> Parser:
    """The parser of a command. Its --help shows the examples as the user calls the command."""
    summary, _, rest = (module(name).__doc__ or "").partition("\n\n")
    made = Parser(
        prog=prog or f"{COMMANDS[name]}.py",
        description=summary,
        epilog=_EXAMPLE.sub(lambda found: _call(found[1], prog), rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module(name).add_arguments(made)
    return made


def module(name: str) -> ModuleType:
    return importlib.import_module(f"hrfamily_deploy.scripts.{COMMANDS[name]}")


def _call(name: str, prog: str | None) -> str:
    """How to call a command where this one is called `prog`."""
    return f"{prog.rpartition(' ')[0]} {name}" if prog else f"python deploy/{COMMANDS[name]}.py"


def _usage() -> str:
    lines = [f"usage: {_PACKAGE} COMMAND [--help] …", ""]
    lines += [f"  {name:<12}{(module(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    return "\n".join(lines)
