"""Segment images with a server that runs elsewhere: label maps, overlays, or JSON."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("client"))
