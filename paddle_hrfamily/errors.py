"""The one exception meant for a person: the command line prints it as a single line and leaves with status 2."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message names the key or file, the value found, and the fix."""


def unknown(kind: str, name: object, options: Iterable[str]) -> UserError:
    """The error for a name that is not among `options`: it offers the nearest ones, or all if none is near."""
    import difflib

    options = list(options)
    folded = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(folded[n] for n in near)}?" if near else f"there are {', '.join(options)}"
    return UserError(f"no {kind} {name!r}; {hint}")
