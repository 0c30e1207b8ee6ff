"""Paddle Inference: the one file that touches a device through Paddle. It does what a plan says, deciding nothing."""

from __future__ import annotations

import json
import warnings
import zlib  # noqa: F401  Paddle 2.6 has functions of zlib's names, and the first to be loaded wins
from pathlib import Path
from typing import Any

import numpy as np
from machine import Gpu


class PaddleBackend:
    """A graph that is loaded. One thread at a time; `clone` shares the weights.

    Args:
        predictor: of `paddle.inference`.
        gpu: index of the card to send batches to from pinned memory, or None for a processor.
    """

    def __init__(self, predictor: Any, gpu: int | None = None) -> None:
        self._predictor = predictor
        self._gpu = gpu
        self._input = predictor.get_input_handle(predictor.get_input_names()[0])
        self._output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(self, batch: np.ndarray) -> np.ndarray:
        """A batch as the graph takes it -> what the graph ends in."""
        if self._gpu is None:
            self._input.reshape(batch.shape)
            self._input.copy_from_cpu(batch)
        else:
            self._input.share_external_data(_on_card(batch, self._gpu))
        self._predictor.run()
        return self._output.copy_to_cpu()

    def clone(self) -> PaddleBackend:
        return PaddleBackend(self._predictor.clone(), self._gpu)


def load(plan: dict[str, Any]) -> PaddleBackend:
    """Load what the plan names; for TensorRT, collect shapes and build the engine first where it is not there yet."""
    warnings.filterwarnings("ignore", "No ccache found")  # which Paddle wants for compiling operators of one's own
    from paddle import inference

    _check_program(Path(plan["model"]))
    engine = plan.get("tensorrt")
    if not engine:
        return PaddleBackend(
            inference.create_predictor(configured(inference.Config, plan)), plan.get("pinned_input_of")
        )
    Path(engine["cache"]).mkdir(parents=True, exist_ok=True)
    if "collect" in engine["steps"]:
        config = configured(inference.Config, {**plan, "precision": "fp32", "tensorrt": None})
        config.collect_shape_range_info(engine["shape_file"])
        _run_at(PaddleBackend(inference.create_predictor(config)), plan)
    backend = PaddleBackend(inference.create_predictor(configured(inference.Config, plan)), plan["pinned_input_of"])
    if "build" in engine["steps"]:
        _run_at(backend, plan)
        Path(engine["built"]).touch()
    return backend


def configured(make_config: Any, plan: dict[str, Any]) -> Any:
    """A `paddle.inference.Config` (of that class, or another with its methods) as the plan says."""
    from paddle.inference import PrecisionType

    config = make_config(plan["model"], plan["params"])
    config.disable_glog_info()
    config.switch_ir_optim(plan["ir_passes"])
    if plan["memory_reuse"]:
        config.enable_memory_optim()
    config.set_cpu_math_library_num_threads(plan["threads"])
    if plan["device"] == "cpu":
        _configure_cpu(config, plan)
        return config
    precision = PrecisionType.Half if plan["precision"] == "fp16" else PrecisionType.Float32
    config.enable_use_gpu(plan["memory_pool_mb"], int(plan["device"].partition(":")[2]), precision)
    if plan["tensorrt"]:
        _configure_tensorrt(config, plan["tensorrt"], precision)
    return config


def _on_card(batch: np.ndarray, gpu: int) -> Any:
    """The batch on that card, through memory that the card reads by itself."""
    import paddle

    return paddle.to_tensor(batch, place=paddle.CUDAPinnedPlace()).cuda(gpu, blocking=False)


def gpus() -> tuple[Gpu, ...]:
    """The cards that Paddle sees."""
    import paddle

    count = paddle.device.cuda.device_count()
    found = [paddle.device.cuda.get_device_properties(index) for index in range(count)]
    return tuple(Gpu(card.name, f"{card.major}.{card.minor}", card.total_memory >> 20) for card in found)


def tensorrt_version() -> str:
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


def _configure_cpu(config: Any, plan: dict[str, Any]) -> None:
    config.disable_gpu()
    if not plan["onednn"]:
        config.disable_mkldnn()
        return
    config.enable_mkldnn()
    if plan["onednn_shapes"]:
        config.set_mkldnn_cache_capacity(plan["onednn_shapes"])
    if plan["precision"] == "bf16":
        config.enable_mkldnn_bfloat16()
        if plan["bf16_operators"]:
            config.set_bfloat16_op(set(plan["bf16_operators"]))


def _configure_tensorrt(config: Any, engine: dict[str, Any], precision: Any) -> None:
    config.enable_tensorrt_engine(
        workspace_size=engine["workspace_mb"] << 20,
        max_batch_size=engine["max_batch"],
        min_subgraph_size=engine["min_subgraph_size"],
        precision_mode=precision,
        use_static=True,
        use_calib_mode=False,
    )
    config.set_optim_cache_dir(engine["cache"])
    config.exp_disable_tensorrt_ops(engine["operators_outside"])
    config.enable_tuned_tensorrt_dynamic_shape(engine["shape_file"], True)


def _run_at(backend: PaddleBackend, plan: dict[str, Any]) -> None:
    for shape in plan["tensorrt"]["made_for"]["shapes"]:
        backend.run(np.zeros(shape, plan["input_dtype"]))
