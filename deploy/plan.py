"""How a network would be run here, decided before anything is loaded, as a dictionary to print and to test."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastest
from errors import UserError
from exported import Exported
from machine import Machine

BACKENDS = ("paddle", "onnxruntime", "openvino", "auto")
PRECISIONS = ("fp32", "bf16", "fp16")
DEVICES = "auto, cpu, gpu or gpu:N"
# Until it is measured: the fastest first, as on two cores with AVX-512 (HRNet, U-HRNet and DDRNet at 512x1024).
_FASTEST = {"fp32": ("openvino", "onnxruntime", "paddle"), "bf16": ("openvino", "paddle"), "fp16": ("paddle",)}
_FOR_GPUS = ("paddle",)
_ENGINE_WORKSPACE_MB = 1024
_LEAST_SUBGRAPH = 3
_SHAPES_KEPT = 10  # input shapes that oneDNN keeps kernels for; without a limit memory grows with each new one
_OPENVINO_READS = (".pdmodel", ".xml")  # programs; quantize.py writes the latter
_RESIZING = ("Resize", "ResizeByLong", "ResizeByShort", "LimitLong")

Plan = dict[str, Any]
Size = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """What a user may ask for.

    Attributes:
        device: "auto" (a GPU if Paddle sees one), "cpu", "gpu" or "gpu:N".
        precision: "fp32", "bf16" (processors that have it) or "fp16" (GPUs).
        threads: of the processor; all physical cores if None.
        backend: "paddle", "onnxruntime", "openvino", or "auto", the fastest of those that can (see `fastest`).
        batch: images run at a time, at most.
        tensorrt: compile the graph for this GPU with TensorRT.
        sizes: (height, width) that TensorRT's engine is to take, where the graph leaves them open.
        gpu_memory_mb: to take at once.
        cache: folder for compiled engines; "tensorrt" beside the graph if None.
    """

    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    backend: str = "paddle"
    batch: int = 1
    tensorrt: bool = False
    sizes: Sequence[Size] = ()
    gpu_memory_mb: int = 1024
    cache: Path | None = None


def make(exported: Exported, options: Options, machine: Machine, times: fastest.Times | None = None) -> Plan:
    """The whole configuration: device, threads, oneDNN, precision, memory pool, passes, TensorRT's steps, and notes.

    Args:
        times: of the backends, for "auto"; those on record if None.

    Raises:
        UserError: an unknown or missing device, backend or precision, or options that do not go together.
    """
    _check_numbers(options)
    notes: list[str] = []
    device = _device(options, machine)
    backend = _backend(exported, options, device, machine, times, notes)
    _check_device(device, backend, machine)
    if options.tensorrt and device == "cpu":
        raise UserError(f"TensorRT is for paddle on GPUs, not {backend} on {device}")
    _check_precision(options.precision, device, backend, machine)
    if options.precision == "bf16" and backend == "paddle" and exported.takes_pictures and machine.is_paddle("2."):
        raise UserError(
            "precision bf16: Paddle 2 loses a fast export's constants; take openvino, or export without --fast"
        )
    plan = {
        "model": str(_model(exported, backend)),
        "params": str(exported.params) if backend == "paddle" else None,
        "backend": backend,
        "version": machine.runtimes[backend],
        "device": device,
        "precision": options.precision,
        "batch": _batch(exported, options),
        "input_shape": list(exported.input_shape),
        "input": "pictures" if exported.takes_pictures else "planes",
        "input_dtype": exported.dtype,
        "output": exported.output,
        "threads": options.threads or machine.cores,
    }
    if backend == "paddle":
        # Paddle 3's pass for sharing memory between tensors fails on .json programs.
        plan |= {"ir_passes": True, "memory_reuse": exported.program.suffix == ".pdmodel"}
        plan |= _cpu(exported, machine, notes) if device == "cpu" else _gpu(exported, options, device, machine)
    if exported.output == "labels" and any(entry["type"] in _RESIZING for entry in exported.transforms):
        notes.append(
            "the graph ends in labels, which go back to the image's size as the nearest pixel; PaddleSeg's evaluation "
            "interpolates logits: export with --output_op none for its very map"
        )
    return {**plan, "notes": notes}


def _check_numbers(options: Options) -> None:
    for name in ("threads", "batch", "gpu_memory_mb"):
        value = getattr(options, name)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UserError(f"{name} {value!r} must be a whole number above 0")
    if any(len(size) != 2 or min(size) < 1 for size in options.sizes):
        raise UserError(f"sizes {list(options.sizes)!r} must be pairs of height and width")
    if options.precision not in PRECISIONS:
        raise UserError(f"no precision {options.precision!r}; there are {', '.join(PRECISIONS)}")
    if options.backend not in BACKENDS:
        raise UserError(f"no backend {options.backend!r}; there are {', '.join(BACKENDS)}")


def _device(options: Options, machine: Machine) -> str:
    name, _, index = options.device.partition(":")
    if name not in ("auto", "cpu", "gpu") or (index and (name != "gpu" or not index.isdigit())):
        raise UserError(f"no device {options.device!r}; there are {DEVICES}")
    if name == "auto":
        return "gpu:0" if machine.gpus and options.backend in ("auto", "paddle") else "cpu"
    return f"gpu:{int(index or 0)}" if name == "gpu" else "cpu"


def _backend(
    exported: Exported,
    options: Options,
    device: str,
    machine: Machine,
    times: fastest.Times | None,
    notes: list[str],
) -> str:
    if options.backend != "auto":
        reason = _why_not(options.backend, exported, device, machine)
        if reason:
            raise UserError(f"backend {options.backend}: {reason}")
        return options.backend
    reasons = _reasons(exported, options, device, machine)
    able = [name for name, reason in reasons.items() if not reason]
    if not able:
        raise UserError("no backend: " + "; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    if times is None:
        times = fastest.recorded(exported, options, machine) if len(able) > 1 else {}
    able.sort(key=lambda name: times.get(name, math.inf))
    said = ", ".join(f"{name} {times[name]:.0f} ms" for name in able if times.get(name, math.inf) < math.inf)
    unmeasured = " (not measured here)" if len(able) > 1 else ""
    notes.append(f"backend {able[0]} is the fastest of those that can" + (f" ({said})" if said else unmeasured))
    failed = f"failed when it was measured here; remove {fastest.RECORD} to measure again"
    reasons |= {name: failed for name in able if times.get(name) == math.inf}
    notes += [f"backend {name}: {reason}" for name, reason in reasons.items() if reason]
    return able[0]


def candidates(exported: Exported, options: Options, machine: Machine) -> list[str]:
    """The backends that "auto" is to choose from, by measuring; none where there is nothing to choose."""
    device = _device(options, machine)
    if options.backend != "auto" or device != "cpu" or options.precision not in _FASTEST:
        return []
    return [name for name, reason in _reasons(exported, options, device, machine).items() if not reason]


def _reasons(exported: Exported, options: Options, device: str, machine: Machine) -> dict[str, str]:
    """Why a backend cannot, or "", the one that is likely to be the fastest first."""
    order = _FASTEST[options.precision] if device == "cpu" else _FOR_GPUS
    return {name: _why_not(name, exported, device, machine) for name in order}


def _why_not(backend: str, exported: Exported, device: str, machine: Machine) -> str:
    """Why this runtime cannot run this network there, or ""."""
    if backend not in machine.runtimes:
        return f"not installed (pip install {'paddlepaddle' if backend == 'paddle' else backend})"
    if exported.program.suffix == ".xml" and backend != "openvino":
        return f"{exported.program.name} is for openvino alone"
    if backend == "onnxruntime" and exported.onnx is None:
        return f"{exported.folder} has no {exported.program.with_suffix('.onnx').name}"
    if backend == "openvino" and exported.program.suffix not in _OPENVINO_READS and exported.onnx is None:
        return f"it reads .pdmodel and .onnx, not {exported.program.name}"
    if device != "cpu" and backend != "paddle":
        return "it runs on processors here; take device cpu"
    return ""


def _model(exported: Exported, backend: str) -> Path:
    reads_program = backend == "paddle" or (backend == "openvino" and exported.program.suffix in _OPENVINO_READS)
    return exported.program if reads_program else exported.onnx


def _check_device(device: str, backend: str, machine: Machine) -> None:
    if device == "cpu":
        return
    index = int(device.partition(":")[2])
    if index >= len(machine.gpus):
        there = ", ".join(f"gpu:{i} {gpu.name}" for i, gpu in enumerate(machine.gpus)) or "no GPU"
        built = "" if machine.cuda else ", as it was built for processors; install paddlepaddle-gpu"
        raise UserError(f"no device {device}: {backend} {machine.runtimes[backend]} sees {there}{built}")


def _check_precision(precision: str, device: str, backend: str, machine: Machine) -> None:
    if precision == "bf16":
        if device != "cpu" or backend == "onnxruntime":
            raise UserError(f"precision bf16 is for processors with paddle or openvino, not {backend} on {device}")
        if not machine.has_bf16:
            raise UserError("precision bf16: this processor has neither avx512_bf16 nor amx_bf16; take fp32")
    if precision == "fp16" and (device == "cpu" or backend != "paddle"):
        raise UserError(f"precision fp16 is for paddle on GPUs, not {backend} on {device}; take fp32")


def _batch(exported: Exported, options: Options) -> int:
    fixed = exported.input_shape[0]
    if fixed != -1 and options.batch not in (1, fixed):
        raise UserError(f"batch {options.batch}: this graph takes {fixed} at a time; export with an open batch")
    return options.batch if fixed == -1 else fixed


def _cpu(exported: Exported, machine: Machine, notes: list[str]) -> Plan:
    # Paddle 3.3's oneDNN cannot read the attributes of a .json program: it stops at the first convolution.
    broken = exported.program.suffix == ".json" and machine.is_paddle("3.3.")
    if broken:
        notes.append(
            f"oneDNN is off, 2 to 5 times slower: Paddle {machine.runtimes['paddle']}'s is broken for "
            f"{exported.program.name}; export as .pdmodel"
        )
    return {
        "onednn": not broken,
        "onednn_shapes": _SHAPES_KEPT if -1 in exported.input_shape else None,
        # Of other operators in bf16, Paddle 3's sums and its way back to float32 fail when they run.
        "bf16_operators": ["conv2d", "fused_conv2d"] if machine.is_paddle("3.") else None,
    }


def _gpu(exported: Exported, options: Options, device: str, machine: Machine) -> Plan:
    index = int(device.partition(":")[2])
    plan = {"memory_pool_mb": options.gpu_memory_mb, "pinned_input_of": index, "tensorrt": None}
    if options.tensorrt:
        plan["tensorrt"] = _tensorrt(exported, options, device, machine)
    return plan


def _tensorrt(exported: Exported, options: Options, device: str, machine: Machine) -> Plan:
    if not machine.tensorrt:
        raise UserError(f"TensorRT: paddle {machine.runtimes['paddle']} finds none here; install it, or leave it out")
    if exported.program.suffix != ".pdmodel":
        raise UserError(f"TensorRT takes .pdmodel and not {exported.program.name}; export again")
    shapes = _shapes(exported, options)
    gpu = machine.gpus[int(device.partition(":")[2])]
    made_for = {
        "network": exported.digest(),
        "gpu": [gpu.name, gpu.capability],
        "versions": [machine.runtimes["paddle"], machine.tensorrt],
        "precision": options.precision,
        "shapes": shapes,
    }
    key = hashlib.sha256(json.dumps(made_for, sort_keys=True).encode()).hexdigest()[:16]
    cache = (options.cache or exported.folder / "tensorrt") / key
    collected, built = cache / "shapes.pbtxt", cache / "built"
    steps = [] if collected.is_file() else ["collect"]
    return {
        "made_for": made_for,
        "cache": str(cache),
        "shape_file": str(collected),
        "built": str(built),
        "steps": ["load"] if built.is_file() and not steps else [*steps, "tune", "build"],
        "precision": options.precision,
        "workspace_mb": _ENGINE_WORKSPACE_MB,
        "min_subgraph_size": _LEAST_SUBGRAPH,
        "max_batch": shapes[-1][0],
        # Engines of several Paddle versions fail on it ("reshape dimension with more than one -1").
        "operators_outside": ["arg_max"],
    }


def _shapes(exported: Exported, options: Options) -> list[list[int]]:
    """The input shapes that an engine is tuned between, the smallest and the largest."""
    batch, _, height, width = exported.input_shape
    sizes = sorted({tuple(size) for size in options.sizes}) or [(height, width)]
    if height != -1 and width != -1:
        sizes = [(height, width)]
    elif not options.sizes:
        raise UserError("TensorRT: this graph's height and width are open; give the sizes it will see, as 512x1024")
    batches = sorted({1, options.batch}) if batch == -1 else [batch]
    least = exported.input_of(batches[0], min(h for h, _ in sizes), min(w for _, w in sizes))
    most = exported.input_of(batches[-1], max(h for h, _ in sizes), max(w for _, w in sizes))
    return [least] if least == most else [least, most]
