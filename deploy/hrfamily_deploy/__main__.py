"""`python -m hrfamily_deploy COMMAND …`: see `scripts.command_line`."""

from __future__ import annotations

import sys

from hrfamily_deploy.scripts import command_line

if __name__ == "__main__":
    sys.exit(command_line.package_main())
