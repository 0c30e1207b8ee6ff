"""The one exception meant for a person: the command line prints it as a single line and leaves with status 2."""


class UserError(Exception):
    """Bad input. The message names the key or file, the value found, and the fix."""
