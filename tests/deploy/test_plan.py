"""The configuration, decided without the devices it is for, and what Paddle's Config is told of it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import exported
import machine
import numpy as np
import paddle
import paddle_backend
import plan
import pytest
from errors import UserError
from machine import Gpu, Machine
from paddle import inference
from plan import Options

from tests.deploy.conftest import CHAINS_THAT_RESIZE, Describe

CPU = Machine(cores=6, flags=frozenset({"avx512f"}), runtimes={"paddle": "3.3.1"})
BF16 = Machine(cores=6, flags=frozenset({"amx_bf16"}), runtimes={"paddle": "3.3.1", "openvino": "2026.4"})
CARDS = (Gpu("NVIDIA RTX A4000", "8.6", 16000), Gpu("NVIDIA T4", "7.5", 15000))
GPU = Machine(cores=8, runtimes={"paddle": "2.6.2"}, cuda=True, gpus=CARDS, tensorrt="8.5.1")


def made(folder: Path, there: Machine, **options: object) -> plan.Plan:
    return plan.make(exported.read(folder), Options(**options), there)


def told(chosen: plan.Plan) -> dict[str, tuple]:
    """Method -> arguments of every call on Paddle's Config, which must have such a method."""
    factory = create_autospec(inference.Config)
    paddle_backend.configured(factory, chosen)
    return {call[0]: (*call[1], *call[2].values()) for call in factory.return_value.method_calls}


def test_processors(describe: Describe) -> None:
    chosen = made(describe(), CPU)
    assert chosen["device"] == "cpu" and chosen["threads"] == 6 and chosen["onednn"] and chosen["notes"] == []
    calls = told(chosen)
    assert calls["set_cpu_math_library_num_threads"] == (6,) and calls["switch_ir_optim"] == (True,)
    assert {"disable_gpu", "enable_mkldnn", "enable_memory_optim"} <= set(calls)
    assert calls["set_mkldnn_cache_capacity"] == (10,)
    assert not {"enable_mkldnn_bfloat16", "enable_use_gpu", "disable_mkldnn"} & set(calls)


def test_threads_and_a_fixed_shape(describe: Describe) -> None:
    chosen = made(describe("fixed"), CPU, threads=3)
    assert chosen["threads"] == 3 and chosen["batch"] == 2
    assert "set_mkldnn_cache_capacity" not in told(chosen)


def test_bf16(describe: Describe) -> None:
    folder = describe()
    assert "enable_mkldnn_bfloat16" in told(made(folder, BF16, precision="bf16"))
    assert told(made(folder, BF16, precision="bf16"))["set_bfloat16_op"] == ({"conv2d", "fused_conv2d"},)
    assert made(folder, BF16, precision="bf16", backend="auto")["backend"] == "openvino"
    older = Machine(cores=6, flags=BF16.flags, runtimes={"paddle": "2.6.2"})
    assert "set_bfloat16_op" not in told(made(folder, older, precision="bf16"))
    with pytest.raises(UserError, match=r"Paddle 2 loses .* without --fast"):
        made(describe("none", name="pictures", input_layout="NHWC"), older, precision="bf16")
    with pytest.raises(UserError, match="neither avx512_bf16 nor amx_bf16"):
        made(folder, CPU, precision="bf16")


@pytest.mark.parametrize(("version", "works"), [("3.3.0", False), ("3.3.1", False), ("3.2.2", True)])
def test_onednn_that_is_broken_is_avoided_and_said(describe: Describe, version: str, works: bool) -> None:
    folder = describe()
    (folder / "model.pdmodel").rename(folder / "model.json")  # as Paddle 3 names it, whatever the description says
    chosen = made(folder, Machine(cores=2, runtimes={"paddle": version}))
    assert chosen["onednn"] is works and chosen["model"].endswith("model.json")
    assert "enable_memory_optim" not in told(chosen)
    assert ("enable_mkldnn" in told(chosen)) is works and ("disable_mkldnn" in told(chosen)) is not works
    assert works or (version in chosen["notes"][0] and ".pdmodel" in chosen["notes"][0])


def test_a_gpu(describe: Describe) -> None:
    chosen = made(describe(), GPU, precision="fp16", gpu_memory_mb=500, batch=4)
    assert chosen["device"] == "gpu:0" and chosen["batch"] == 4 and chosen["tensorrt"] is None
    calls = told(chosen)
    assert calls["enable_use_gpu"] == (500, 0, inference.PrecisionType.Half)
    assert not {"enable_mkldnn", "enable_tensorrt_engine"} & set(calls)
    second = told(made(describe("none"), GPU, device="gpu:1"))
    assert second["enable_use_gpu"][1:] == (1, inference.PrecisionType.Float32)
    assert made(describe("none", name="second"), GPU, device="gpu:1")["pinned_input_of"] == 1
    assert made(describe("softmax"), GPU, device="cpu")["device"] == "cpu"


def test_a_gpu_is_fed_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, predictor = MagicMock(), MagicMock()
    monkeypatch.setattr(paddle, "to_tensor", pinned)
    monkeypatch.setattr(paddle, "CUDAPinnedPlace", lambda: "pinned")
    batch = np.zeros((1, 8, 8, 3), np.uint8)
    paddle_backend.PaddleBackend(predictor, gpu=1).clone().run(batch)
    assert pinned.call_args.args[0] is batch and pinned.call_args.kwargs == {"place": "pinned"}
    pinned.return_value.cuda.assert_called_once_with(1, blocking=False)
    handle = predictor.clone.return_value.get_input_handle.return_value
    handle.share_external_data.assert_called_once_with(pinned.return_value.cuda.return_value)
    handle.copy_from_cpu.assert_not_called()


def test_tensorrt_is_collected_tuned_built_and_then_loaded(describe: Describe) -> None:
    folder = describe()
    options = {"tensorrt": True, "precision": "fp16", "batch": 4, "sizes": [(512, 1024), (256, 2048)]}
    engine = made(folder, GPU, **options)["tensorrt"]
    assert engine["steps"] == ["collect", "tune", "build"]
    assert engine["made_for"]["shapes"] == [[1, 3, 256, 1024], [4, 3, 512, 2048]] and engine["max_batch"] == 4
    assert Path(engine["cache"]).parent == folder / "tensorrt"
    calls = told(made(folder, GPU, **options))
    assert calls["set_optim_cache_dir"] == (engine["cache"],)
    assert calls["enable_tuned_tensorrt_dynamic_shape"] == (engine["shape_file"], True)
    assert calls["exp_disable_tensorrt_ops"] == (["arg_max"],)
    assert calls["enable_tensorrt_engine"] == (1 << 30, 4, 3, inference.PrecisionType.Half, True, False)

    Path(engine["cache"]).mkdir(parents=True)
    Path(engine["shape_file"]).touch()
    assert made(folder, GPU, **options)["tensorrt"]["steps"] == ["tune", "build"]
    Path(engine["built"]).touch()
    assert made(folder, GPU, **options)["tensorrt"]["steps"] == ["load"]


def test_an_engine_is_of_one_network_card_version_precision_and_shape(describe: Describe) -> None:
    folder = describe()
    first = {"tensorrt": True, "sizes": [(512, 1024)]}
    there = {
        "same": made(folder, GPU, **first),
        "card": made(folder, GPU, **first, device="gpu:1"),
        "paddle": made(folder, Machine(**{**vars(GPU), "runtimes": {"paddle": "2.6.1"}}), **first),
        "tensorrt": made(folder, Machine(**{**vars(GPU), "tensorrt": "8.6.0"}), **first),
        "precision": made(folder, GPU, **first, precision="fp16"),
        "sizes": made(folder, GPU, tensorrt=True, sizes=[(512, 512)]),
    }
    with (folder / "model.pdiparams").open("ab") as weights:
        weights.write(b"x")
    there["network"] = made(folder, GPU, **first)
    assert len({chosen["tensorrt"]["cache"] for chosen in there.values()}) == len(there)
    assert made(folder, GPU, **first, cache=Path("/elsewhere"))["tensorrt"]["cache"].startswith("/elsewhere/")


def test_a_fixed_shape_needs_no_sizes(describe: Describe) -> None:
    engine = made(describe("fixed"), GPU, tensorrt=True)["tensorrt"]
    assert engine["made_for"]["shapes"] == [[2, 3, 64, 96]] and engine["max_batch"] == 2


def asked(folder: Path) -> tuple[exported.Exported, Options]:
    return exported.read(folder), Options(backend="auto")


def test_auto_takes_the_fastest_and_says_which(describe: Describe) -> None:
    folder = describe()
    chosen = made(folder, BF16, backend="auto")
    assert chosen["backend"] == "openvino" and chosen["model"].endswith(".pdmodel")
    assert "openvino is the fastest" in chosen["notes"][0] and "onnxruntime: not installed" in chosen["notes"][1]
    with_onnx = Machine(cores=2, runtimes={**BF16.runtimes, "onnxruntime": "1.31"})
    assert any("has no model.onnx" in note for note in made(folder, with_onnx, backend="auto")["notes"])
    (folder / "model.onnx").touch()
    assert made(folder, with_onnx, backend="onnxruntime")["model"].endswith("model.onnx")
    plan.fastest._write(
        folder / "fastest.json", plan.fastest._key(*asked(folder), with_onnx), {"onnxruntime": 9.0, "paddle": 7.0}
    )
    chosen = made(folder, with_onnx, backend="auto")
    assert chosen["backend"] == "paddle" and "paddle 7 ms, onnxruntime 9 ms" in chosen["notes"][0]
    assert made(folder, GPU, backend="auto")["backend"] == "paddle"


def test_a_resizing_graph_of_labels_is_noted(describe: Describe) -> None:
    for name, chain in CHAINS_THAT_RESIZE.items():
        assert "--output_op none" in made(describe("argmax", name=name, transforms=chain), CPU)["notes"][0]
        assert made(describe("none", name=name, transforms=chain), CPU)["notes"] == []


@pytest.mark.parametrize(
    ("there", "options", "words"),
    [
        (CPU, {"device": "tpu"}, ["tpu", "auto, cpu, gpu or gpu:N"]),
        (CPU, {"device": "cpu:1"}, ["cpu:1"]),
        (CPU, {"device": "gpu"}, ["gpu:0", "no GPU", "paddlepaddle-gpu"]),
        (GPU, {"device": "gpu:2"}, ["gpu:2", "gpu:1 NVIDIA T4"]),
        (CPU, {"precision": "int4"}, ["int4", "fp32, bf16, fp16"]),
        (CPU, {"precision": "fp16"}, ["fp16", "fp32"]),
        (GPU, {"precision": "bf16"}, ["bf16", "gpu:0"]),
        (CPU, {"backend": "caffe"}, ["caffe", "openvino"]),
        (CPU, {"backend": "openvino"}, ["openvino", "pip install openvino"]),
        (BF16, {"backend": "openvino", "device": "gpu"}, ["openvino", "processors"]),
        (CPU, {"backend": "auto", "precision": "fp16"}, ["fp16"]),
        (CPU, {"threads": 0}, ["threads 0"]),
        (CPU, {"batch": -1}, ["batch -1"]),
        (CPU, {"tensorrt": True}, ["TensorRT", "GPUs"]),
        (GPU, {"tensorrt": True}, ["TensorRT", "512x1024"]),
        (Machine(**{**vars(GPU), "tensorrt": ""}), {"tensorrt": True}, ["TensorRT", "finds none"]),
        (Machine(cores=1), {}, ["paddle", "pip install paddlepaddle"]),
    ],
)
def test_what_cannot_be_is_one_clear_line(describe: Describe, there: Machine, options: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        made(describe(), there, **options)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_cores_are_physical_and_within_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    twins = [
        {"physical id": str(n // 8), "core id": str(n // 2 % 4)} for n in range(16)
    ]  # 2 sockets, 4 cores, 2 threads
    assert machine.usable_cores(twins, tmp_path / "absent") == 8
    quota = tmp_path / "cpu.max"
    quota.write_text("max 100000\n")
    assert machine.usable_cores(twins, quota) == 8
    quota.write_text("250000 100000\n")
    assert machine.usable_cores(twins, quota) == 2
    assert machine.usable_cores([], tmp_path / "absent") == 16
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert machine.usable_cores(twins, quota) == 1


def test_this_machine_is_seen() -> None:
    there = machine.probe()
    assert there.cores >= 1 and there.runtimes["paddle"][0] in "23" and (there.cuda or not there.gpus)
