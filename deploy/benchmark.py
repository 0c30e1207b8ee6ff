"""Time exported networks from uint8 images to label maps of their size, stage by stage, alone or against each other."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("benchmark"))
