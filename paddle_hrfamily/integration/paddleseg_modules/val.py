"""`python -m paddleseg.val`."""

import sys

from paddle_hrfamily.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("val", sys.argv[1:], prog="python -m paddleseg.val"))
