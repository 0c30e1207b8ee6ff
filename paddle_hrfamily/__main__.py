"""The command line: `hrfamily COMMAND …`, which is also `python -m paddle_hrfamily COMMAND …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hrfamily_deploy.scripts import command_line
from paddle_hrfamily.commands import COMMANDS, run_command, summary
from paddle_hrfamily.errors import unknown

COMPLETION = "--print-completion"


def main(argv: Sequence[str] | None = None, prog: str = "hrfamily") -> int:
    """Run one command. Returns the exit status: 0, or 2 for bad input, whose one-line reason goes to stderr."""
    return command_line.run(lambda: _main(sys.argv[1:] if argv is None else argv, prog))


def _main(argv: Sequence[str], prog: str) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(prog))
        return 0 if argv else 2
    name, *rest = argv
    if name == "--version":
        print(_version(prog))
        return 0
    if name == COMPLETION:
        from paddle_hrfamily.commands import completion

        print(completion.script(rest[0] if rest else "", prog))
        return 0
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    return run_command(name, rest, prog=f"{prog} {name}")


def _usage(prog: str) -> str:
    lines = [f"usage: {prog} COMMAND [--help] …", f"       {prog} --version", f"       {prog} {COMPLETION} SHELL", ""]
    lines += [f"  {name:<12}{summary(name)}" for name in COMMANDS]
    return "\n".join(lines)


def _version(prog: str) -> str:
    """This package's, Python's and those of the libraries below, without importing them."""
    from importlib import metadata

    from paddle_hrfamily import __version__

    found = [f"Python {sys.version.split()[0]}"]
    for name in ("paddlepaddle", "paddlepaddle-gpu", "paddleseg"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{prog} {__version__} ({', '.join(found)})"


if __name__ == "__main__":
    sys.exit(main())
