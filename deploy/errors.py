"""The one exception meant for a person, and how a script ends with it: one line and status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input. The message names the file or flag, the value found, and the fix."""


def run(main: Callable[[], int]) -> int:
    """The exit status of `main`: its own, 2 for bad input, 130 where it was interrupted."""
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
