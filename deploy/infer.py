"""Segment images, a video or a webcam with an exported network: overlays with a legend, label maps, class shares."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("infer"))
