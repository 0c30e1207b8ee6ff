"""Triton's configuration of an ONNX graph: a dictionary in the schema's words, its text form, and the check of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.runtime.options import Size

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto

MAX_BATCH = 8
DEVICES = ("cpu", "gpu")
PRECISIONS = ("fp32", "fp16")  # of TensorRT
# numpy's name of a type -> Triton's
_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    **{f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}

Config = dict[str, Any]


class Symbol(str):
    """A value of an enumeration: it stands without quotation marks."""


@dataclass(frozen=True)
class Options:
    """How Triton is to run a network.

    Attributes:
        max_batch: images that it puts together at most; MAX_BATCH if None and the graph leaves it open.
        instances: copies of the network, on each GPU or on the CPU.
        device: "cpu" or "gpu".
        tensorrt: precision of an engine compiled for the GPU; None for ONNX Runtime's own kernels.
        cache: folder on the server that keeps the engine.
        delay_ms: how long an image waits for others to share a batch with.
        threads: of an instance on CPUs; 0 for all cores.
        sizes: (height, width) to warm up at and to compile for, where the graph leaves them open.
    """

    max_batch: int | None = None
    instances: int = 1
    device: str = "cpu"
    tensorrt: str | None = None
    cache: str | None = None
    delay_ms: float = 5.0
    threads: int = 0
    sizes: Sequence[Size] = ((512, 1024),)


def make(graph: GraphProto, name: str, class_names: Sequence[str], options: Options) -> Config:
    """A ModelConfig.

    Raises:
        UserError: options that make no sense, or that this graph cannot have.
    """
    _check(options)
    image, answer = graph.input[0], graph.output[0]
    most = _max_batch(image, options.max_batch)
    shapes = _shapes(image, most, options.sizes)
    config: Config = {
        "name": name,
        "backend": "onnxruntime",
        "max_batch_size": most,
        "input": [_tensor(image, most)],
        "output": [_tensor(answer, most)],
        "version_policy": {"latest": {"num_versions": 1}},
        "instance_group": [{"count": options.instances, "kind": Symbol(f"KIND_{options.device.upper()}")}],
        "model_warmup": [_warm_up(image, shape, most) for shape in shapes],
        "parameters": [_parameter("class_names", json.dumps(list(class_names), ensure_ascii=False))],
    }
    if most > 1:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": round(1000 * options.delay_ms)}
    if options.threads:
        config["parameters"].append(_parameter("intra_op_thread_count", options.threads))
    if options.tensorrt:
        accelerator = {"name": "tensorrt", "parameters": _tensorrt(image, shapes, options.tensorrt, options.cache)}
        config["optimization"] = {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}
    return config


def as_text(config: Mapping[str, Any]) -> str:
    """Protobuf's text form."""
    return "".join(f"{line}\n" for key, value in config.items() for line in _lines(key, value))


def schema() -> type | None:
    """Triton's own ModelConfig, None where tritonclient is not installed."""
    try:
        from tritonclient.grpc.model_config_pb2 import ModelConfig
    except (ImportError, RuntimeError):  # the second where it is there without grpc
        return None
    return ModelConfig


def check(text: str) -> None:
    """Raises UserError for what Triton's schema does not have; without tritonclient nothing is checked."""
    model_config = schema()
    if model_config is None:
        return
    from google.protobuf import text_format

    try:
        text_format.Parse(text, model_config())
    except text_format.ParseError as error:
        raise UserError(f"config.pbtxt does not follow Triton's schema: {error}") from None


def _check(options: Options) -> None:
    for flag, value, least in (
        ("max-batch", options.max_batch, 1),
        ("instances", options.instances, 1),
        ("threads", options.threads, 0),
        ("delay", options.delay_ms, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"--{flag} {value} must be at least {least}")
    for flag, choice, known in (("device", options.device, DEVICES), ("tensorrt", options.tensorrt, PRECISIONS)):
        if choice is not None and choice not in known:
            raise UserError(f"no {flag} {choice!r}; there are {', '.join(known)}")
    if options.tensorrt and options.device != "gpu":
        raise UserError(f"--tensorrt {options.tensorrt} is for --device gpu, not {options.device}")
    if not options.sizes or any(min(size) < 1 for size in options.sizes):
        raise UserError("--sizes must be heights and widths above 0, as 512x1024")


def _extents(value: ValueInfoProto) -> list[int]:
    """Of all axes, -1 where open."""
    return [axis.dim_value if axis.dim_value > 0 else -1 for axis in value.type.tensor_type.shape.dim]


def _max_batch(image: ValueInfoProto, asked: int | None) -> int:
    """What Triton calls max_batch_size: 0 where the first axis is as the graph has it."""
    fixed = _extents(image)[0]
    if fixed == -1:
        return asked or MAX_BATCH
    if asked not in (None, fixed):
        raise UserError(f"--max-batch {asked}: this graph takes {fixed} at a time; export with an open batch")
    return 0


def _tensor(value: ValueInfoProto, most: int) -> Config:
    extents = _extents(value)
    return {"name": value.name, "data_type": _type(value), "dims": extents[1:] if most else extents}


def _type(value: ValueInfoProto) -> Symbol:
    from onnx.helper import tensor_dtype_to_np_dtype

    return Symbol(_TYPES[str(tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))])


def _shapes(image: ValueInfoProto, most: int, sizes: Sequence[Size]) -> list[list[int]]:
    """Whole shapes of the input, batch and all, smallest first; open axes are height and width, in this order."""
    batch, *others = _extents(image)
    filled = []
    for size in sorted(sizes) if -1 in others else sizes[:1]:
        given = iter(size)
        filled.append([extent if extent > 0 else next(given) for extent in others])
    return [[count, *extents] for extents in filled for count in (sorted({1, most}) if most else [batch])]


def _warm_up(image: ValueInfoProto, shape: Sequence[int], most: int) -> Config:
    batch, dims = (shape[0], shape[1:]) if most else (1, shape)
    zeros = {"data_type": _type(image), "dims": list(dims), "zero_data": True}
    return {
        "name": "x".join(map(str, shape)),
        "batch_size": batch,
        "inputs": [{"key": image.name, "value": zeros}],
    }


def _tensorrt(
    image: ValueInfoProto, shapes: Sequence[Sequence[int]], precision: str, cache: str | None
) -> list[Config]:
    values = {"precision_mode": precision.upper()}
    if -1 in _extents(image):
        least, most = ([edge(axis) for axis in zip(*shapes)] for edge in (min, max))
        for kind, shape in (("min", least), ("opt", most), ("max", most)):
            values[f"trt_profile_{kind}_shapes"] = f"{image.name}:{'x'.join(map(str, shape))}"
    if cache:
        values |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": cache}
    return [{"key": key, "value": value} for key, value in values.items()]


def _parameter(key: str, value: object) -> Config:
    return {"key": key, "value": {"string_value": str(value)}}


def _lines(key: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{key} {{"
        yield from (f"  {line}" for name, inner in value.items() for line in _lines(name, inner))
        yield "}"
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for inner in value:
            yield from _lines(key, inner)
    else:
        yield f"{key}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not isinstance(value, Symbol):
        return json.dumps(value, ensure_ascii=False)  # the same escapes as protobuf's
    return str(value)
