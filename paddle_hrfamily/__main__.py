"""The command line: `hrfamily COMMAND …`, which is also `python -m paddle_hrfamily COMMAND …`."""

from __future__ import annotations

import argparse
import importlib
import sys

from paddle_hrfamily.errors import UserError

# Name on the command line -> module in paddle_hrfamily.commands, in the order that --help shows them.
COMMANDS = {
    "quickstart": "quickstart",
    "train": "train",
    "val": "val",
    "predict": "predict",
    "export": "export",
    "verify": "verify",
    "curves": "curves",
    "compare": "compare",
    "explain": "explain",
    "ablate": "ablate",
    "list": "list_models",
    "convert": "convert",
    "trainids": "trainids",
    "doctor": "doctor",
}


def main(argv: list[str] | None = None, prog: str = "hrfamily") -> int:
    """Run one command. Returns the exit status: 0, or 2 for bad input, whose one-line reason goes to stderr."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(prog))
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        return _fail(f"no command {name!r}; there are {', '.join(COMMANDS)}")
    return run_command(name, rest, prog=f"{prog} {name}")


def run_command(name: str, argv: list[str], prog: str) -> int:
    """Parse `argv` for the command and run it (what `python -m paddleseg.train` comes to as well)."""
    module = importlib.import_module(f"paddle_hrfamily.commands.{COMMANDS[name]}")
    parser = argparse.ArgumentParser(
        prog=prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    try:
        return module.run(parser.parse_args(argv)) or 0
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")


def _usage(prog: str) -> str:
    lines = [f"usage: {prog} COMMAND [--help] …", ""]
    for name, module in COMMANDS.items():
        summary = importlib.import_module(f"paddle_hrfamily.commands.{module}").__doc__.splitlines()[0]
        lines.append(f"  {name:<12}{summary}")
    return "\n".join(lines)


def _fail(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
