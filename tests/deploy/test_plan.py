"""The configuration, decided without the devices it is for, and what Paddle's Config is told of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import numpy as np
import paddle
import pytest
from paddle import inference

from hrfamily_deploy import bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.runtime import autotune, hardware, planning
from hrfamily_deploy.runtime.backends import paddle_inference
from hrfamily_deploy.runtime.hardware import Gpu, Hardware
from hrfamily_deploy.runtime.options import Options
from hrfamily_deploy.runtime.plan import Plan
from tests.deploy.conftest import CHAINS_THAT_RESIZE, Describe

CPU = Hardware(cores=6, flags=frozenset({"avx512f"}), runtimes={"paddle": "3.3.1"})
BF16 = Hardware(cores=6, flags=frozenset({"amx_bf16"}), runtimes={"paddle": "3.3.1", "openvino": "2026.4"})
CARDS = (Gpu("NVIDIA RTX A4000", "8.6", 16000), Gpu("NVIDIA T4", "7.5", 15000))
GPU = Hardware(cores=8, runtimes={"paddle": "2.6.2"}, cuda=True, gpus=CARDS, tensorrt="8.5.1")


def made(folder: Path, there: Hardware, times: planning.Times | None = None, **options: object) -> Plan:
    return planning.make(bundle.read(folder), Options(**options), there, times)


def told(chosen: Plan) -> dict[str, tuple]:
    """Method -> arguments of every call on Paddle's Config, which must have such a method."""
    factory = create_autospec(inference.Config)
    paddle_inference.configured(factory, chosen)
    return {call[0]: (*call[1], *call[2].values()) for call in factory.return_value.method_calls}


def test_a_cpu(describe: Describe) -> None:
    chosen = made(describe(), CPU)
    assert chosen.device == "cpu" and chosen.threads == 6 and chosen.settings.onednn and chosen.notes == ()
    calls = told(chosen)
    assert calls["set_cpu_math_library_num_threads"] == (6,) and calls["switch_ir_optim"] == (True,)
    assert {"disable_gpu", "enable_mkldnn", "enable_memory_optim"} <= set(calls)
    assert calls["set_mkldnn_cache_capacity"] == (10,)
    assert not {"enable_mkldnn_bfloat16", "enable_use_gpu", "disable_mkldnn"} & set(calls)


def test_threads_and_a_fixed_shape(describe: Describe) -> None:
    chosen = made(describe("fixed"), CPU, threads=3)
    assert chosen.threads == 3 and chosen.batch == 2
    assert "set_mkldnn_cache_capacity" not in told(chosen)


def test_bf16(describe: Describe) -> None:
    folder = describe()
    assert "enable_mkldnn_bfloat16" in told(made(folder, BF16, precision="bf16"))
    assert told(made(folder, BF16, precision="bf16"))["set_bfloat16_op"] == ({"conv2d", "fused_conv2d"},)
    assert made(folder, BF16, precision="bf16", backend="auto").backend == "openvino"
    older = Hardware(cores=6, flags=BF16.flags, runtimes={"paddle": "2.6.2"})
    assert "set_bfloat16_op" not in told(made(folder, older, precision="bf16"))
    with pytest.raises(UserError, match=r"Paddle 2 loses .* without --fast"):
        made(describe("none", name="images", input_layout="NHWC"), older, precision="bf16")
    with pytest.raises(UserError, match="neither avx512_bf16 nor amx_bf16"):
        made(folder, CPU, precision="bf16")


@pytest.mark.parametrize(("version", "works"), [("3.3.0", False), ("3.3.1", False), ("3.2.2", True)])
def test_onednn_that_is_broken_is_avoided_and_said(describe: Describe, version: str, works: bool) -> None:
    folder = describe()
    (folder / "model.pdmodel").rename(folder / "model.json")  # as Paddle 3 names it, whatever the description says
    chosen = made(folder, Hardware(cores=2, runtimes={"paddle": version}))
    assert chosen.settings.onednn is works and chosen.model.name == "model.json"
    assert "enable_memory_optim" not in told(chosen)
    assert ("enable_mkldnn" in told(chosen)) is works and ("disable_mkldnn" in told(chosen)) is not works
    assert works or (version in chosen.notes[0] and ".pdmodel" in chosen.notes[0])


def test_a_gpu(describe: Describe) -> None:
    chosen = made(describe(), GPU, precision="fp16", gpu_memory_mb=500, batch=4)
    assert chosen.device == "gpu:0" and chosen.batch == 4 and chosen.settings.tensorrt is None
    calls = told(chosen)
    assert calls["enable_use_gpu"] == (500, 0, inference.PrecisionType.Half)
    assert not {"enable_mkldnn", "enable_tensorrt_engine"} & set(calls)
    second = told(made(describe("none"), GPU, device="gpu:1"))
    assert second["enable_use_gpu"][1:] == (1, inference.PrecisionType.Float32)
    assert made(describe("none", name="second"), GPU, device="gpu:1").settings.pinned_input_of == 1
    assert made(describe("softmax"), GPU, device="cpu").device == "cpu"


def test_a_gpu_is_fed_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, predictor = MagicMock(), MagicMock()
    monkeypatch.setattr(paddle, "to_tensor", pinned)
    monkeypatch.setattr(paddle, "CUDAPinnedPlace", lambda: "pinned")
    batch = np.zeros((1, 8, 8, 3), np.uint8)
    paddle_inference.PaddleRunner(predictor, gpu=1).clone().run(batch)
    assert pinned.call_args.args[0] is batch and pinned.call_args.kwargs == {"place": "pinned"}
    pinned.return_value.cuda.assert_called_once_with(1, blocking=False)
    handle = predictor.clone.return_value.get_input_handle.return_value
    handle.share_external_data.assert_called_once_with(pinned.return_value.cuda.return_value)
    handle.copy_from_cpu.assert_not_called()


def test_tensorrt_is_collected_tuned_built_and_then_loaded(describe: Describe) -> None:
    folder = describe()
    options = {"tensorrt": True, "precision": "fp16", "batch": 4, "sizes": [(512, 1024), (256, 2048)]}
    engine = made(folder, GPU, **options).settings.tensorrt
    assert engine.steps == ["collect", "tune", "build"]
    assert engine.made_for["shapes"] == [[1, 3, 256, 1024], [4, 3, 512, 2048]] and engine.max_batch == 4
    assert engine.cache.parent == folder / "tensorrt"
    calls = told(made(folder, GPU, **options))
    assert calls["set_optim_cache_dir"] == (str(engine.cache),)
    assert calls["enable_tuned_tensorrt_dynamic_shape"] == (str(engine.shape_file), True)
    assert calls["exp_disable_tensorrt_ops"] == (["arg_max"],)
    assert calls["enable_tensorrt_engine"] == (1 << 30, 4, 3, inference.PrecisionType.Half, True, False)

    engine.cache.mkdir(parents=True)
    engine.shape_file.touch()
    assert made(folder, GPU, **options).settings.tensorrt.steps == ["tune", "build"]
    engine.built.touch()
    assert made(folder, GPU, **options).settings.tensorrt.steps == ["load"]


def test_an_engine_is_of_one_network_card_version_precision_and_shape(describe: Describe) -> None:
    folder = describe()
    first = {"tensorrt": True, "sizes": [(512, 1024)]}

    def cache(there: Hardware = GPU, **options: object) -> Path:
        return made(folder, there, **{**first, **options}).settings.tensorrt.cache

    caches = {
        "same": cache(),
        "card": cache(device="gpu:1"),
        "paddle": cache(Hardware(**{**vars(GPU), "runtimes": {"paddle": "2.6.1"}})),
        "tensorrt": cache(Hardware(**{**vars(GPU), "tensorrt": "8.6.0"})),
        "precision": cache(precision="fp16"),
        "sizes": cache(sizes=[(512, 512)]),
    }
    with (folder / "model.pdiparams").open("ab") as weights:
        weights.write(b"x")
    caches["network"] = cache()
    assert len(set(caches.values())) == len(caches)
    assert cache(cache=Path("/elsewhere")).parent == Path("/elsewhere")


def test_a_fixed_shape_needs_no_sizes(describe: Describe) -> None:
    engine = made(describe("fixed"), GPU, tensorrt=True).settings.tensorrt
    assert engine.made_for["shapes"] == [[2, 3, 64, 96]] and engine.max_batch == 2


def test_auto_takes_the_fastest_and_says_which(describe: Describe) -> None:
    folder = describe()
    chosen = made(folder, BF16, backend="auto")
    assert chosen.backend == "openvino" and chosen.model.suffix == ".pdmodel"
    assert "openvino is the fastest" in chosen.notes[0] and "onnxruntime: not installed" in chosen.notes[1]
    with_onnx = Hardware(cores=2, runtimes={**BF16.runtimes, "onnxruntime": "1.31"})
    assert any("has no model.onnx" in note for note in made(folder, with_onnx, backend="auto").notes)
    (folder / "model.onnx").touch()
    assert made(folder, with_onnx, backend="onnxruntime").model.name == "model.onnx"
    chosen = made(folder, with_onnx, {"onnxruntime": 9.0, "paddle": 7.0}, backend="auto")
    assert chosen.backend == "paddle" and "paddle 7 ms, onnxruntime 9 ms" in chosen.notes[0]
    assert made(folder, GPU, backend="auto").backend == "paddle"


def test_auto_is_planned_by_the_times_on_record(describe: Describe) -> None:
    folder = describe()
    (folder / "model.onnx").touch()
    there = Hardware(cores=2, runtimes={"paddle": "3.3.1", "onnxruntime": "1.31"})
    network, options = bundle.read(folder), Options(backend="auto")
    assert "(not measured here)" in autotune.plan(network, options, there, measure=False).notes[0]
    key = autotune._key(network, options, there)
    autotune._write(folder / "fastest.json", key, {"onnxruntime": 9.0, "paddle": 7.0})
    chosen = autotune.plan(network, options, there, measure=False)
    assert chosen.backend == "paddle" and "paddle 7 ms, onnxruntime 9 ms" in chosen.notes[0]


def test_a_resizing_graph_of_labels_is_noted(describe: Describe) -> None:
    for name, chain in CHAINS_THAT_RESIZE.items():
        assert "--output_op none" in made(describe("argmax", name=name, transforms=chain), CPU).notes[0]
        assert made(describe("none", name=name, transforms=chain), CPU).notes == ()


COMMON = [
    *("model", "params", "backend", "version", "device", "precision", "batch", "input_shape", "input", "input_dtype"),
    *("output", "threads"),
]
PADDLE = ["ir_passes", "memory_reuse"]
ENGINE = "made_for cache shape_file built steps precision workspace_mb min_subgraph_size max_batch operators_outside"


def test_a_plan_in_json(describe: Describe) -> None:
    """Scripts of users read it: names, order and plain values."""
    folder = describe()
    on_cpu, openvino = made(folder, CPU).to_json(), made(folder, BF16, backend="openvino").to_json()
    on_gpu = made(folder, GPU, tensorrt=True, sizes=[(64, 96)]).to_json()
    assert list(on_cpu) == [*COMMON, *PADDLE, "onednn", "onednn_shapes", "bf16_operators", "notes"]
    assert list(openvino) == [*COMMON, "notes"] and openvino["params"] is None
    assert list(on_gpu) == [*COMMON, *PADDLE, "memory_pool_mb", "pinned_input_of", "tensorrt", "notes"]
    assert list(on_gpu["tensorrt"]) == ENGINE.split()
    assert list(on_gpu["tensorrt"]["made_for"]) == ["network", "gpu", "versions", "precision", "shapes"]
    for plan in (on_cpu, openvino, on_gpu):
        assert json.loads(json.dumps(plan)) == plan
    assert (on_cpu["model"], on_cpu["params"]) == (str(folder / "model.pdmodel"), str(folder / "model.pdiparams"))
    assert on_cpu["input"] == "planes" and on_cpu["input_shape"] == [-1, 3, -1, -1]


def test_planning_reads_no_file(describe: Describe) -> None:
    network = bundle.read(describe())
    plans = {}
    for _ in range(2):  # the second time the folder is gone
        for name, options in {"cpu": {"device": "cpu"}, "gpu": {"tensorrt": True, "sizes": [(64, 96)]}}.items():
            plans.setdefault(name, []).append(planning.make(network, Options(**options), GPU))
        shutil.rmtree(network.folder, ignore_errors=True)
    assert all(first == second for first, second in plans.values())


def test_weights_are_hashed_once_for_a_bundle(describe: Describe, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, opened, usual = describe(), [], Path.open
    (folder / "model.onnx").touch()
    monkeypatch.setattr(Path, "open", lambda self, *how, **more: opened.append(self.name) or usual(self, *how, **more))
    monkeypatch.setattr(autotune, "_in_turns", lambda *arguments: {"onnxruntime": 9.0, "paddle": 7.0})
    there = Hardware(cores=2, runtimes={"paddle": "3.3.1", "onnxruntime": "1.31"})
    network = bundle.read(folder)
    assert autotune.plan(network, Options(backend="auto"), there).backend == "paddle"
    assert autotune.plan(network, Options(backend="auto"), there).backend == "paddle"
    engine = planning.make(network, Options(tensorrt=True, sizes=[(64, 96)]), GPU).settings.tensorrt
    assert engine.to_json()["made_for"]["network"] == network.digest
    assert opened.count("model.pdiparams") == opened.count("model.pdmodel") == 1


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
        (BF16, {"backend": "openvino", "device": "gpu"}, ["openvino", "CPUs"]),
        (CPU, {"backend": "auto", "precision": "fp16"}, ["fp16"]),
        (CPU, {"threads": 0}, ["threads 0"]),
        (CPU, {"batch": -1}, ["batch -1"]),
        (CPU, {"tensorrt": True}, ["TensorRT", "GPUs"]),
        (GPU, {"tensorrt": True}, ["TensorRT", "512x1024"]),
        (Hardware(**{**vars(GPU), "tensorrt": ""}), {"tensorrt": True}, ["TensorRT", "finds none"]),
        (Hardware(cores=1), {}, ["paddle", "pip install paddlepaddle"]),
    ],
)
def test_what_cannot_be_is_one_clear_line(describe: Describe, there: Hardware, options: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        made(describe(), there, **options)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_this_machine_is_seen() -> None:
    there = hardware.probe()
    assert there.cores >= 1 and there.runtimes["paddle"][0] in "23" and (there.cuda or not there.gpus)
