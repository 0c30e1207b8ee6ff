"""How a network would be run here, decided before anything is loaded: of what is given alone, no file being read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging.preprocess import TRANSFORMS
from hrfamily_deploy.runtime.backends import BACKENDS, Backend, Hardware
from hrfamily_deploy.runtime.options import AUTO, Options
from hrfamily_deploy.runtime.plan import Plan, gpu_index

RECORD = "fastest.json"  # in which measured times are kept
Times = Mapping[str, float]  # backend -> milliseconds, infinite where it failed when it was measured


def backend_names() -> tuple[str, ...]:
    """What `--backend` may be."""
    return (*BACKENDS, AUTO)


def make(bundle: Bundle, options: Options, hardware: Hardware, times: Times | None = None) -> Plan:
    """The whole configuration: runtime, device, precision, threads, what the runtime alone is told, and notes.

    Args:
        times: what was measured of the backends, to choose the fastest by where the options leave it open.

    Raises:
        UserError: a missing device or backend, or options that do not go together.
    """
    device = _device(options, hardware)
    backend, notes = _chosen(bundle, options, device, hardware, times or {})
    _check_device(device, backend, hardware)
    _check_tensorrt(options, device, backend)
    _check_precision(options.precision, device, backend, hardware)
    model = backend.reads(bundle)
    assert model is not None, f"{backend.name} was chosen and reads nothing"
    return Plan(
        model=model,
        params=bundle.params if backend.takes_params else None,
        backend=backend.name,
        version=hardware.runtimes[backend.name],
        device=device,
        precision=options.precision,
        batch=_batch(bundle, options),
        input_shape=bundle.input_shape,
        takes_images=bundle.takes_images,
        input_dtype=bundle.dtype,
        output=bundle.output,
        threads=options.threads or hardware.cores,
        settings=backend.settings(bundle, options, device, hardware),
        notes=(*notes, *backend.notes(bundle, device, hardware), *_output_notes(bundle)),
    )


def candidates(bundle: Bundle, options: Options, hardware: Hardware) -> list[str]:
    """The backends that "auto" is to choose from by their times; none where there is nothing to choose."""
    device = _device(options, hardware)
    if options.backend != AUTO or device != "cpu":
        return []
    able = [name for name, reason in _reasons(bundle, options, device, hardware).items() if not reason]
    return able if len(able) > 1 else []


def _device(options: Options, hardware: Hardware) -> str:
    kind, _, index = options.device.partition(":")
    if kind == AUTO:
        asked = BACKENDS.values() if options.backend == AUTO else [_named(options.backend)]
        return "gpu:0" if hardware.gpus and any(backend.gpu_precisions for backend in asked) else "cpu"
    return f"gpu:{int(index or 0)}" if kind == "gpu" else "cpu"


def _named(name: str) -> Backend:
    if name not in BACKENDS:
        raise UserError(f"no backend {name!r}; there are {', '.join(backend_names())}")
    return BACKENDS[name]


def _chosen(
    bundle: Bundle, options: Options, device: str, hardware: Hardware, times: Times
) -> tuple[Backend, list[str]]:
    """The backend, and notes on the choice if there was one."""
    if options.backend == AUTO:
        return _fastest(_reasons(bundle, options, device, hardware), options, device, times)
    backend = _named(options.backend)
    if reason := backend.why_not(bundle, options, device, hardware):
        raise UserError(f"backend {backend.name}: {reason}")
    return backend, []


def _reasons(bundle: Bundle, options: Options, device: str, hardware: Hardware) -> dict[str, str]:
    """Why a backend cannot, or "", of all that have this precision there; the one expected to be the fastest first."""
    having = [backend for backend in BACKENDS.values() if options.precision in backend.precisions(device)]
    having.sort(key=lambda backend: backend.speed_rank)
    return {backend.name: backend.why_not(bundle, options, device, hardware) for backend in having}


def _fastest(reasons: Mapping[str, str], options: Options, device: str, times: Times) -> tuple[Backend, list[str]]:
    if not reasons:
        raise _wrong_precision(options.precision, f"not for {device}")
    able = [name for name, reason in reasons.items() if not reason]
    if not able:
        raise UserError("no backend: " + "; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    able.sort(key=lambda name: times.get(name, math.inf))
    measured = ", ".join(f"{name} {times[name]:.0f} ms" for name in able if times.get(name, math.inf) < math.inf)
    unmeasured = " (not measured here)" if len(able) > 1 else ""
    notes = [f"backend {able[0]} is the fastest of those that can" + (f" ({measured})" if measured else unmeasured)]
    failed = f"failed when it was measured here; remove {RECORD} to measure again"
    why_not = {**reasons, **{name: failed for name in able if times.get(name) == math.inf}}
    notes += [f"backend {name}: {reason}" for name, reason in why_not.items() if reason]
    return BACKENDS[able[0]], notes


def _check_device(device: str, backend: Backend, hardware: Hardware) -> None:
    index = gpu_index(device)
    if index is None or index < len(hardware.gpus):
        return
    there = ", ".join(f"gpu:{number} {gpu.name}" for number, gpu in enumerate(hardware.gpus)) or "no GPU"
    built = "" if hardware.cuda else f", as it was built for CPUs; install {backend.distributions[0]}"
    raise UserError(f"no device {device}: {backend.name} {hardware.runtimes[backend.name]} sees {there}{built}")


def _check_tensorrt(options: Options, device: str, backend: Backend) -> None:
    if options.tensorrt and (device == "cpu" or not backend.takes_tensorrt):
        able = " or ".join(name for name, each in BACKENDS.items() if each.takes_tensorrt)
        raise UserError(f"TensorRT is for {able} on GPUs, not {backend.name} on {device}")


def _check_precision(precision: str, device: str, backend: Backend, hardware: Hardware) -> None:
    if precision not in backend.precisions(device):
        raise _wrong_precision(precision, f"not {backend.name} on {device}")
    if precision == "bf16" and device == "cpu" and not hardware.has_bf16:
        raise UserError("precision bf16: this CPU has neither avx512_bf16 nor amx_bf16; take fp32")


def _wrong_precision(precision: str, here: str) -> UserError:
    on_cpus = [name for name, backend in BACKENDS.items() if precision in backend.cpu_precisions]
    on_gpus = [name for name, backend in BACKENDS.items() if precision in backend.gpu_precisions]
    places = [f"{' or '.join(names)} on {kind}" for names, kind in ((on_cpus, "CPUs"), (on_gpus, "GPUs")) if names]
    return UserError(f"precision {precision} is for {' and '.join(places)}, {here}; take fp32")


def _batch(bundle: Bundle, options: Options) -> int:
    fixed = bundle.input_shape[0]
    if fixed != -1 and options.batch not in (1, fixed):
        raise UserError(f"batch {options.batch}: this graph takes {fixed} at a time; export with an open batch")
    return options.batch if fixed == -1 else fixed


def _output_notes(bundle: Bundle) -> list[str]:
    names = [entry["type"] for entry in bundle.transforms]
    resizes = any(TRANSFORMS[name].undone_as == "resize" for name in names if name in TRANSFORMS)
    if bundle.output != "labels" or not resizes:
        return []
    return [
        "the graph ends in labels, which go back to the image's size as the nearest pixel; PaddleSeg's evaluation "
        "interpolates logits: export with --output_op none for its very map"
    ]
