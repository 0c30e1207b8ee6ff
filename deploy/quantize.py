"""Write an exported network once more with 8-bit integers inside, for OpenVINO on CPUs."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("quantize"))
