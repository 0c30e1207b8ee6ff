"""The combinations that are known not to work, each with its fix: small functions from the facts to a finding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from paddle_hrfamily.doctor.installation import Facts, numbers

LEVELS = ("broken", "warning", "note")
TESTED = ("2.6.2", "3.3.1")

# A fragment of what an import says when it fails -> what to do.
SYMPTOMS = {
    r"numpy\.core\.multiarray|_ARRAY_API|ABI version|numpy\.dtype size changed": "pip install 'numpy<2'",
    r"libGL\.so|libgthread|libglib": "apt-get install libgl1 libglib2.0-0 (or the like), or the OpenCV without "
    "windows: pip uninstall -y opencv-python; pip install opencv-python-headless==4.5.5.64",
    r"libgomp\.so": "apt-get install libgomp1 (or the like)",
    r"Descriptors cannot be created directly": "pip install 'protobuf<3.21', "
    "or set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python",
    r"libcud\w+|libcublas|libnvidia|CUDA driver version": "the CUDA libraries or the driver do not fit this "
    "paddlepaddle-gpu: install the build for your CUDA (paddlepaddle.org.cn), or the CPU one",
    r"zlib\.error|inflate": "put `import zlib` before `import paddle`: Paddle 2.6 exports its own zlib's symbols",
    r"no kernel image|not built with .*compute|Unsupported GPU arch": "this paddlepaddle-gpu has no machine code for "
    "the GPU: install a newer one from paddlepaddle.org.cn",
}


@dataclass(frozen=True)
class Finding:
    """One thing to know. A `broken` one stops work, a `warning` may, a `note` is for information."""

    level: str
    what: str
    fix: str


def diagnose(facts: Facts) -> list[Finding]:
    """Everything that CHECKS find, the worst first."""
    findings = [finding for check in CHECKS if (finding := check(facts))]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


# The checks: each looks at the facts and says what it found, or nothing.


def python_is_supported(facts: Facts) -> Finding | None:
    if (3, 9) <= facts.python < (3, 13):
        return None
    return Finding("broken", "Python {}.{}.{} is not supported".format(*facts.python), "use Python 3.9 to 3.12")


def paddle_is_installed(facts: Facts) -> Finding | None:
    if facts.paddle or "paddle" in facts.probed:
        return None
    return Finding("broken", "PaddlePaddle is not installed", "pip install 'paddle_hrfamily[cpu]' or '[gpu]'")


def one_paddle_only(facts: Facts) -> Finding | None:
    if not (facts.versions.get("paddlepaddle") and facts.versions.get("paddlepaddle-gpu")):
        return None
    return Finding(
        "broken",
        "paddlepaddle and paddlepaddle-gpu are both installed and overwrite each other's files",
        "pip uninstall -y paddlepaddle paddlepaddle-gpu, then install the one that you want",
    )


def paddle_is_tested(facts: Facts) -> Finding | None:
    if facts.paddle is None or facts.paddle.split(".post")[0] in TESTED:
        return None
    return Finding(
        "warning", f"Paddle {facts.paddle} is untested here", f"if something fails, try {' or '.join(TESTED)}"
    )


def paddleseg_is_2_8(facts: Facts) -> Finding | None:
    version = facts.versions.get("paddleseg")
    if version == "2.8.0":
        return None
    return Finding("broken", f"paddleseg is {version or 'not installed'}", "pip install paddleseg==2.8.0")


def paddleseg_is_whole(facts: Facts) -> Finding | None:
    if "paddleseg" not in facts.probed or facts.probed["paddleseg"]["file"]:
        return None
    return Finding(
        "broken",
        "paddleseg is a folder without __init__.py, the leftovers of another installation",
        "delete that folder, then pip install --force-reinstall --no-deps paddleseg==2.8.0",
    )


def numpy_fits(facts: Facts) -> Finding | None:
    opencv = facts.versions.get("opencv-python") or facts.versions.get("opencv-python-headless")
    old = [f"opencv {opencv}"] if opencv and numbers(opencv) < (4, 10) else []
    old += [f"paddle {facts.paddle}"] if facts.paddle and numbers(facts.paddle) < (3,) else []
    if not old or numbers(facts.versions.get("numpy") or "0") < (2,):
        return None
    return Finding(
        "broken",
        f"numpy {facts.versions['numpy']} with {' and '.join(old)}, compiled against numpy 1",
        "pip install 'numpy<2'",
    )


def requirements_agree(facts: Facts) -> Finding | None:
    if not facts.conflicts:
        return None
    return Finding("warning", "; ".join(facts.conflicts), "pip install --force-reinstall 'paddle_hrfamily[cpu]'")


def protobuf_fits(facts: Facts) -> Finding | None:
    if facts.paddle is None or numbers(facts.paddle) >= (3,) or numbers(facts.versions.get("protobuf") or "0") < (7,):
        return None
    return Finding(
        "warning",
        f"protobuf {facts.versions['protobuf']} lacks what Paddle 2.6 reads when several processes train together",
        "pip install 'protobuf<7'",
    )


def no_paddleslim(facts: Facts) -> Finding | None:
    if not (facts.versions.get("paddleslim") and facts.versions.get("paddleseg")):
        return None
    return Finding(
        "warning",
        "paddleslim wants opencv 4.6.0.66 and paddleseg one below 4.6.0: pip cannot satisfy both",
        "keep paddleslim in an environment of its own",
    )


def one_opencv_only(facts: Facts) -> Finding | None:
    if not (facts.versions.get("opencv-python") and facts.versions.get("opencv-python-headless")):
        return None
    return Finding(
        "warning",
        "opencv-python and opencv-python-headless are both installed and overwrite each other's files",
        "pip uninstall -y opencv-python opencv-python-headless; pip install opencv-python==4.5.5.64",
    )


def imports_succeed(facts: Facts) -> Finding | None:
    if facts.failed_step is None:
        return None
    fix = (
        next(filter(None, map(_remedy, facts.failure)), None)
        or "see the message; pip install 'paddle_hrfamily[cpu]' in a fresh environment"
    )
    return Finding("broken", f"{facts.failed_step} fails: {facts.failure[0]}", fix)


def hook_is_active(facts: Facts) -> Finding | None:
    if facts.hooked:
        return None
    cause = "PADDLE_HRFAMILY_DISABLE=1 is set" if facts.disabled else "the package is not installed by pip"
    return Finding(
        "warning",
        f"the import hook is off ({cause}), so `python -m paddleseg.train` does not exist",
        "unset the variable" if facts.disabled else "pip install it, or use `python -m paddle_hrfamily train …`",
    )


def hook_took_effect(facts: Facts) -> Finding | None:
    if not facts.hooked or facts.probed.get("paddleseg", {}).get("train", True):
        return None
    return Finding(
        "broken", "the import hook is on but paddleseg has no module train", "python -W always -c 'import paddleseg'"
    )


def zlib_before_paddle(facts: Facts) -> Finding | None:
    if facts.hooked or facts.paddle is None or numbers(facts.paddle) >= (3,):
        return None
    return Finding(
        "warning",
        "Paddle 2.6 exports its own zlib's symbols, which can crash Python's (scipy, PNG files) while the hook is off",
        "put `import zlib` before `import paddle` in your scripts",
    )


def gpu_is_used(facts: Facts) -> Finding | None:
    if not facts.gpus or not facts.versions.get("paddlepaddle") or facts.versions.get("paddlepaddle-gpu"):
        return None
    return Finding(
        "note",
        f"{facts.gpus[0]['name']} is idle: this Paddle computes on the CPU alone",
        "pip uninstall -y paddlepaddle; pip install 'paddle_hrfamily[gpu]', or a newer one from paddlepaddle.org.cn",
    )


def gpu_is_seen(facts: Facts) -> Finding | None:
    if not facts.versions.get("paddlepaddle-gpu") or facts.probed.get("paddle", {}).get("gpus", True):
        return None
    return Finding("warning", "paddlepaddle-gpu sees no GPU", "nvidia-smi must work; check CUDA_VISIBLE_DEVICES")


def gpu_has_machine_code(facts: Facts) -> Finding | None:
    """PyPI's paddlepaddle-gpu 2.6.2 has machine code for compute capability 6.1 to 8.6 and nothing to compile from."""
    new = [gpu["name"] for gpu in facts.gpus if float(gpu["capability"]) >= 9]
    if facts.versions.get("paddlepaddle-gpu") != "2.6.2" or not new:
        return None
    return Finding(
        "broken",
        f"paddlepaddle-gpu 2.6.2 has no machine code for {new[0]}",
        "install a build for CUDA 12 from paddlepaddle.org.cn (PyPI has none)",
    )


def json_models_run(facts: Facts) -> Finding | None:
    if facts.paddle not in ("3.3.0", "3.3.1"):
        return None
    return Finding(
        "note",
        f"Paddle Inference {facts.paddle} cannot run exported .json models on the CPU with oneDNN, its default",
        "keep to .pdmodel, which `hrfamily export` writes, or call config.disable_mkldnn()",
    )


def shared_memory_suffices(facts: Facts) -> Finding | None:
    if facts.shared_memory is None or facts.shared_memory >= 2**28:
        return None
    return Finding(
        "warning",
        f"/dev/shm has {facts.shared_memory >> 20} MiB: data loading processes die of a bus error when it is full",
        "docker run --shm-size 2g, or train with --num_workers 0",
    )


CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    python_is_supported, paddle_is_installed, one_paddle_only, paddleseg_is_2_8, paddleseg_is_whole, numpy_fits,
    imports_succeed, gpu_has_machine_code, hook_took_effect, hook_is_active, zlib_before_paddle, paddle_is_tested,
    requirements_agree, protobuf_fits, no_paddleslim, one_opencv_only, gpu_is_seen, shared_memory_suffices, gpu_is_used,
    json_models_run,
)  # fmt: skip


def _remedy(line: str) -> str | None:
    """The fix for an error message, if a symptom is known in it."""
    return next((fix for pattern, fix in SYMPTOMS.items() if re.search(pattern, line)), None)
