"""The one exception meant for a person: a command line ends with it, as one line and status 2."""

from __future__ import annotations

from collections.abc import Iterable

from hrfamily_deploy.errors import UserError

__all__ = ["UserError", "nearest", "unknown"]


def unknown(kind: str, name: object, options: Iterable[str]) -> UserError:
    """The error for a name that is not among `options`: it offers the nearest ones, or all if none is near."""
    import difflib

    options = list(options)
    folded = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(folded[n] for n in near)}?" if near else f"there are {', '.join(options)}"
    return UserError(f"no {kind} {name!r}; {hint}")


def nearest(name: object, names: Iterable[object]) -> str:
    """ "; did you mean …?" with up to three of `names` that look like `name`, else nothing."""
    import difflib

    found = difflib.get_close_matches(str(name), [str(n) for n in names], n=3)
    return f"; did you mean {' or '.join(found)}?" if found else ""
