"""`python -m paddleseg.export`."""

import sys

from paddle_hrfamily.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("export", sys.argv[1:], prog="python -m paddleseg.export"))
