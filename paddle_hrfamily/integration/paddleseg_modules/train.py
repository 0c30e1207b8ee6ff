"""`python -m paddleseg.train`, with PaddleSeg's own loop."""

import sys

from paddle_hrfamily.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("train", ["--loop", "paddleseg", *sys.argv[1:]], prog="python -m paddleseg.train"))
