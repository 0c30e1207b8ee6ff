"""Paddle Inference, on CPUs by oneDNN and on NVIDIA GPUs, there also with TensorRT.

It is the one runtime that computes on a GPU, and this the one file that touches a device through Paddle.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib  # noqa: F401  Paddle 2.6 has functions of zlib's names, and the first to be loaded wins
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.runtime.backends.base import Accelerators, Backend, Gpu, Hardware, register
from hrfamily_deploy.runtime.options import Options
from hrfamily_deploy.runtime.plan import Plan, Settings, gpu_index

if TYPE_CHECKING:
    from paddle import Tensor
    from paddle.inference import Config, PrecisionType, Predictor

_WORKSPACE_MB = 1024
_LEAST_SUBGRAPH = 3
_SHAPES_KEPT = 10  # input shapes that oneDNN keeps kernels for; without a limit memory grows with each new one
_OUTSIDE_TENSORRT = ("arg_max",)  # engines of several Paddle versions fail on it ("more than one -1")
# Of other operators in bf16, Paddle 3's sums and its way back to float32 fail when they run.
_BF16_OPERATORS = ("conv2d", "fused_conv2d")


@dataclass(frozen=True)
class TensorRT:
    """An engine for one network, GPU, versions, precision and range of shapes, kept in a folder of its own.

    Files are looked at when `made_for`, `cache` or `steps` are asked for: another process may have built the engine
    since the plan was made.

    Attributes:
        network: whose graph is compiled.
        folder: in which the engine gets its folder.
        versions: of Paddle and TensorRT.
        shapes: of the input, between which the engine is tuned: the smallest and the largest, or the only one.
    """

    network: Bundle
    folder: Path
    gpu: Gpu
    versions: tuple[str, str]
    precision: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def made_for(self) -> dict[str, object]:
        """All that an engine depends on."""
        return {
            "network": self.network.digest,
            "gpu": [self.gpu.name, self.gpu.capability],
            "versions": list(self.versions),
            "precision": self.precision,
            "shapes": [list(shape) for shape in self.shapes],
        }

    @property
    def cache(self) -> Path:
        """The folder of this engine."""
        return self.folder / hashlib.sha256(json.dumps(self.made_for, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def shape_file(self) -> Path:
        """What Paddle collects about the shapes within the graph."""
        return self.cache / "shapes.pbtxt"

    @property
    def built(self) -> Path:
        """An empty file, there once the engine is."""
        return self.cache / "built"

    @property
    def steps(self) -> list[str]:
        """What is to be done: "load", or "collect", "tune" and "build" as far as they are left."""
        collected = self.shape_file.is_file()
        if collected and self.built.is_file():
            return ["load"]
        return [*([] if collected else ["collect"]), "tune", "build"]

    def to_json(self) -> dict[str, object]:
        return {
            "made_for": self.made_for,
            "cache": str(self.cache),
            "shape_file": str(self.shape_file),
            "built": str(self.built),
            "steps": self.steps,
            "precision": self.precision,
            "workspace_mb": _WORKSPACE_MB,
            "min_subgraph_size": _LEAST_SUBGRAPH,
            "max_batch": self.max_batch,
            "operators_outside": list(_OUTSIDE_TENSORRT),
        }

    @property
    def max_batch(self) -> int:
        return self.shapes[-1][0]


@dataclass(frozen=True)
class CpuSettings(Settings):
    """Attributes:
    ir_passes: whether Paddle rewrites the graph before it runs it.
    memory_reuse: whether tensors share memory.
    onednn: whether operators are oneDNN's; without it they are 2 to 5 times slower.
    onednn_shapes: input shapes that it keeps kernels for, None for all.
    bf16_operators: those that compute in bf16 where that is asked for, None for all that can.
    """

    ir_passes: bool
    memory_reuse: bool
    onednn: bool
    onednn_shapes: int | None
    bf16_operators: tuple[str, ...] | None

    def to_json(self) -> dict[str, object]:
        return {**vars(self), "bf16_operators": self.bf16_operators and list(self.bf16_operators)}


@dataclass(frozen=True)
class GpuSettings(Settings):
    """Attributes:
    ir_passes, memory_reuse: as on a CPU.
    memory_pool_mb: taken from the card at once.
    pinned_input_of: index of the card that reads batches by itself from the host's memory.
    tensorrt: the engine, None without TensorRT.
    """

    ir_passes: bool
    memory_reuse: bool
    memory_pool_mb: int
    pinned_input_of: int
    tensorrt: TensorRT | None

    def to_json(self) -> dict[str, object]:
        return {**vars(self), "tensorrt": self.tensorrt and self.tensorrt.to_json()}


class PaddleInference(Backend):
    name = "paddle"
    distributions = ("paddlepaddle-gpu", "paddlepaddle")
    cpu_precisions = ("fp32", "bf16")
    gpu_precisions = ("fp32", "fp16")
    speed_rank = 30
    takes_params = True
    takes_tensorrt = True

    def accelerators(self, distribution: str) -> Accelerators:
        """Paddle is imported only where it was built for GPUs."""
        if not distribution.endswith("-gpu"):
            return Accelerators()
        return Accelerators(True, _gpus(), _tensorrt_version())

    def reads(self, bundle: Bundle) -> Path | None:
        return bundle.program if bundle.program.suffix in (".pdmodel", ".json") else None

    def why_unreadable(self, bundle: Bundle) -> str:
        return f"{bundle.program.name} is for openvino alone"

    def why_not(self, bundle: Bundle, options: Options, device: str, hardware: Hardware) -> str:
        if reason := super().why_not(bundle, options, device, hardware):
            return reason
        if options.precision == "bf16" and device == "cpu" and bundle.takes_images and _is(hardware, "2."):
            return "precision bf16: Paddle 2 loses a fast export's constants; take openvino, or export without --fast"
        return ""

    def settings(self, bundle: Bundle, options: Options, device: str, hardware: Hardware) -> Settings:
        memory_reuse = bundle.program.suffix == ".pdmodel"  # Paddle 3's pass for it fails on .json programs
        card = gpu_index(device)
        if card is not None:
            engine = _engine(bundle, options, hardware.gpus[card], hardware) if options.tensorrt else None
            return GpuSettings(True, memory_reuse, options.gpu_memory_mb, card, engine)
        return CpuSettings(
            ir_passes=True,
            memory_reuse=memory_reuse,
            onednn=not _onednn_is_broken(bundle, hardware),
            onednn_shapes=_SHAPES_KEPT if -1 in bundle.input_shape else None,
            bf16_operators=_BF16_OPERATORS if _is(hardware, "3.") else None,
        )

    def notes(self, bundle: Bundle, device: str, hardware: Hardware) -> list[str]:
        if device != "cpu" or not _onednn_is_broken(bundle, hardware):
            return []
        return [
            f"oneDNN is off, 2 to 5 times slower: Paddle {hardware.runtimes[self.name]}'s is broken for "
            f"{bundle.program.name}; export as .pdmodel"
        ]

    def load(self, plan: Plan) -> PaddleRunner:
        """For TensorRT, shapes are collected and the engine is built first, where they are not there yet."""
        warnings.filterwarnings("ignore", "No ccache found")  # which Paddle wants for compiling operators of one's own
        _check_program(plan.model)
        settings = plan.settings
        if not isinstance(settings, GpuSettings) or settings.tensorrt is None:
            return _runner(plan)
        engine = settings.tensorrt
        steps = engine.steps
        engine.cache.mkdir(parents=True, exist_ok=True)
        if "collect" in steps:
            without = replace(plan, precision="fp32", settings=replace(settings, tensorrt=None))
            _run_at(_runner(without, collect_to=engine.shape_file), plan, engine)
        runner = _runner(plan)
        if "build" in steps:
            _run_at(runner, plan, engine)
            engine.built.touch()
        return runner


class PaddleRunner:
    """A graph that is loaded.

    Args:
        gpu: index of the card to send batches to from pinned memory, or None for a CPU.
    """

    def __init__(self, predictor: Predictor, gpu: int | None = None) -> None:
        self._predictor = predictor
        self._gpu = gpu
        self._input = predictor.get_input_handle(predictor.get_input_names()[0])
        self._output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(self, batch: np.ndarray) -> np.ndarray:
        if self._gpu is None:
            self._input.reshape(batch.shape)
            self._input.copy_from_cpu(batch)
        else:
            self._input.share_external_data(_on_card(batch, self._gpu))
        self._predictor.run()
        return self._output.copy_to_cpu()

    def clone(self) -> PaddleRunner:
        return PaddleRunner(self._predictor.clone(), self._gpu)


def configured(make_config: Callable[[str, str], Config], plan: Plan) -> Config:
    """A `paddle.inference.Config`, or another one with its methods, as the plan says."""
    from paddle.inference import PrecisionType

    settings = plan.settings
    assert isinstance(settings, (CpuSettings, GpuSettings)), f"a plan of {plan.backend}"
    config = make_config(str(plan.model), str(plan.params))
    config.disable_glog_info()
    config.switch_ir_optim(settings.ir_passes)
    if settings.memory_reuse:
        config.enable_memory_optim()
    config.set_cpu_math_library_num_threads(plan.threads)
    if isinstance(settings, CpuSettings):
        _configure_cpu(config, settings, plan.precision)
        return config
    precision = PrecisionType.Half if plan.precision == "fp16" else PrecisionType.Float32
    config.enable_use_gpu(settings.memory_pool_mb, plan.gpu, precision)
    if settings.tensorrt:
        _configure_tensorrt(config, settings.tensorrt, precision)
    return config


def _is(hardware: Hardware, version: str) -> bool:
    """Whether the Paddle here is of the versions that begin so, as "3."."""
    return hardware.runtimes.get(PaddleInference.name, "").startswith(version)


def _onednn_is_broken(bundle: Bundle, hardware: Hardware) -> bool:
    """Paddle 3.3's cannot read the attributes of a .json program: it stops at the first convolution."""
    return bundle.program.suffix == ".json" and _is(hardware, "3.3.")


def _engine(bundle: Bundle, options: Options, gpu: Gpu, hardware: Hardware) -> TensorRT:
    version = hardware.runtimes[PaddleInference.name]
    if not hardware.tensorrt:
        raise UserError(f"TensorRT: paddle {version} finds none here; install it, or leave it out")
    if bundle.program.suffix != ".pdmodel":
        raise UserError(f"TensorRT takes .pdmodel and not {bundle.program.name}; export again")
    return TensorRT(
        network=bundle,
        folder=options.cache or bundle.folder / "tensorrt",
        gpu=gpu,
        versions=(version, hardware.tensorrt),
        precision=options.precision,
        shapes=_shapes(bundle, options),
    )


def _shapes(bundle: Bundle, options: Options) -> tuple[tuple[int, ...], ...]:
    """The input shapes that an engine is tuned between, the smallest and the largest."""
    batch, _, height, width = bundle.input_shape
    sizes = sorted({tuple(size) for size in options.sizes}) or [(height, width)]
    if height != -1 and width != -1:
        sizes = [(height, width)]
    elif not options.sizes:
        raise UserError("TensorRT: this graph's height and width are open; give the sizes it will see, as 512x1024")
    batches = sorted({1, options.batch}) if batch == -1 else [batch]
    least = bundle.input_of(batches[0], min(h for h, _ in sizes), min(w for _, w in sizes))
    most = bundle.input_of(batches[-1], max(h for h, _ in sizes), max(w for _, w in sizes))
    return (tuple(least),) if least == most else (tuple(least), tuple(most))


def _gpus() -> tuple[Gpu, ...]:
    import paddle

    count = paddle.device.cuda.device_count()
    found = [paddle.device.cuda.get_device_properties(index) for index in range(count)]
    return tuple(Gpu(card.name, f"{card.major}.{card.minor}", card.total_memory >> 20) for card in found)


def _tensorrt_version() -> str:
    """Of the library that Paddle loads at run time, "" where there is none."""
    from paddle import inference

    version = inference.get_trt_runtime_version()
    return ".".join(map(str, version)) if any(version) else ""


def _check_program(file: Path) -> None:
    """Raises ValueError for what is no program: Paddle itself would take the whole process down."""
    from google.protobuf.message import DecodeError
    from paddle.base.proto.framework_pb2 import ProgramDesc

    try:
        if file.suffix == ".json":
            json.loads(file.read_bytes())
        elif not ProgramDesc.FromString(file.read_bytes()).blocks:
            raise ValueError("it holds no operators")
    except DecodeError as error:
        raise ValueError(f"it is damaged ({error})") from None


def _runner(plan: Plan, collect_to: Path | None = None) -> PaddleRunner:
    from paddle import inference

    config = configured(inference.Config, plan)
    if collect_to:
        config.collect_shape_range_info(str(collect_to))
    return PaddleRunner(inference.create_predictor(config), plan.gpu)


def _run_at(runner: PaddleRunner, plan: Plan, engine: TensorRT) -> None:
    for shape in engine.shapes:
        runner.run(np.zeros(shape, plan.input_dtype))


def _on_card(batch: np.ndarray, gpu: int) -> Tensor:
    """The batch on that card, through memory that the card reads by itself."""
    import paddle

    return paddle.to_tensor(batch, place=paddle.CUDAPinnedPlace()).cuda(gpu, blocking=False)


def _configure_cpu(config: Config, settings: CpuSettings, precision: str) -> None:
    config.disable_gpu()
    if not settings.onednn:
        config.disable_mkldnn()
        return
    config.enable_mkldnn()
    if settings.onednn_shapes:
        config.set_mkldnn_cache_capacity(settings.onednn_shapes)
    if precision == "bf16":
        config.enable_mkldnn_bfloat16()
        if settings.bf16_operators:
            config.set_bfloat16_op(set(settings.bf16_operators))


def _configure_tensorrt(config: Config, engine: TensorRT, precision: PrecisionType) -> None:
    config.enable_tensorrt_engine(
        workspace_size=_WORKSPACE_MB << 20,
        max_batch_size=engine.max_batch,
        min_subgraph_size=_LEAST_SUBGRAPH,
        precision_mode=precision,
        use_static=True,
        use_calib_mode=False,
    )
    config.set_optim_cache_dir(str(engine.cache))
    config.exp_disable_tensorrt_ops(list(_OUTSIDE_TENSORRT))
    config.enable_tuned_tensorrt_dynamic_shape(str(engine.shape_file), True)


register(PaddleInference())
