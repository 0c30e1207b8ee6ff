"""Serve exported networks over HTTP, with a page for the browser at /, and documentation at /docs."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("serve"))
