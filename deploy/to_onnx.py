"""Convert an exported network to ONNX, and hold it against Paddle Inference before it takes its place."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("onnx"))
