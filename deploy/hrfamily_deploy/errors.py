"""The one exception that is meant for a person: a command ends with it, as one line and status 2."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message names the file or flag, the value found, and the fix."""
