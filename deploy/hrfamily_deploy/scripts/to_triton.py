"""Write a model repository for NVIDIA's Triton inference server from an exported network and its model.onnx.

    hrfamily onnx output/exported
    hrfamily triton output/exported repository --name street --instances 2
    hrfamily triton output/exported repository --name street --device gpu --tensorrt fp16 --sizes 512x1024
    tritonserver --model-repository repository

Writes NAME/config.pbtxt and NAME/1/model.onnx. Triton gets what the graph takes, images after deploy.yaml's transforms,
and gives what the graph ends in; images of one size that arrive together share a batch. The classes' names are in the
configuration, which Triton shows at /v2/models/NAME/config.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrfamily_deploy.scripts import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from hrfamily_deploy.convert import triton_config

    default = triton_config.Options()
    add = parser.add_argument
    add("folder", type=Path, help=f"{flags.FOLDER}, with a model.onnx beside it")
    add("repository", type=Path, help="folder of Triton's models")
    add("--name", help="of the model (default: the folder's)")
    add = parser.add_argument_group("how Triton runs it").add_argument
    add(
        "--max-batch",
        type=int,
        metavar="N",
        help=f"images that share a batch, at most (default: {triton_config.MAX_BATCH}, of a graph with an open batch)",
    )
    add("--delay", type=float, default=default.delay_ms, metavar="MS", help="to wait for others (default: %(default)s)")
    add("--instances", type=int, default=default.instances, help="copies, on each GPU (default: %(default)s)")
    add("--device", default=default.device, help=f"{' or '.join(triton_config.DEVICES)} (default: %(default)s)")
    add("--threads", type=int, default=default.threads, help="of an instance on CPUs (default: all cores)")
    add("--tensorrt", metavar="PRECISION", help=f"{' or '.join(triton_config.PRECISIONS)}, on GPUs (default: none)")
    add("--cache", metavar="DIR", help="on the server, for TensorRT's engines (default: compiled at each start)")
    add(
        "--sizes",
        nargs="+",
        type=flags.size,
        default=list(default.sizes),
        metavar="HxW",
        help="to warm up at and to compile for, where the graph leaves them open (default: 512x1024)",
    )


def run(args: argparse.Namespace) -> int:
    from hrfamily_deploy.convert import triton_config, triton_repository

    options = triton_config.Options(
        max_batch=args.max_batch,
        instances=args.instances,
        device=args.device,
        tensorrt=args.tensorrt,
        cache=args.cache,
        delay_ms=args.delay,
        threads=args.threads,
        sizes=args.sizes,
    )
    folder = triton_repository.write(args.folder, args.repository, args.name, options)
    print((folder / triton_repository.CONFIG).read_text(encoding="utf-8"), end="")
    checked = "follows Triton's schema" if triton_config.schema() else "was not checked: pip install tritonclient[grpc]"
    print(f"{folder} is written; its configuration {checked}")
    return 0
