"""Write a model repository for NVIDIA's Triton inference server from an exported network and its model.onnx."""

import sys

from hrfamily_deploy.scripts.command_line import main

if __name__ == "__main__":
    sys.exit(main("triton"))
