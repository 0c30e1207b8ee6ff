"""The one exception meant for a person, and how a script ends with it: one line and status 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Bad input. The message names the file or flag, the value found, and the fix."""


class Parser(argparse.ArgumentParser):
    """Its errors are one line as all others, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def run(main: Callable[[], int]) -> int:
    """The exit status of `main`: its own, 2 for bad input, 130 where it was interrupted."""
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
