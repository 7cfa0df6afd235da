"""What ``segopt doctor`` says of a GPU and of all that uses it."""

from __future__ import annotations

from segopt.doctor.findings import Facts, Finding, package
from segopt.driver import OLDEST_CUDA, cuda_version_text
from segopt.model.sidecar import FlavorName
from segopt.tensorrt.flavor import TRAITS
from segopt.version import installed_version

PROVIDERS_TENSORRT = "tensorrt>=10.3,<11"
"""Every ONNX Runtime so far has a TensorRT provider that loads ``libnvinfer.so.10``."""


def gpu_findings(facts: dict[str, Facts], *, jetson: bool) -> list[Finding]:
    """ONNX Runtime, the GPU, cuda-bindings and each TensorRT.

    Args:
        facts: of the probes, by name.
        jetson: whether this machine is one.
    """
    gpu = facts["gpu"]
    return [
        onnxruntime(facts["onnxruntime"], gpu),
        nvidia_gpu(gpu, jetson=jetson),
        cuda_bindings(facts["cuda_bindings"], gpu, jetson=jetson),
        tensorrt("tensorrt", facts["tensorrt"], _tensorrt_fix(jetson)),
        package("TensorRT lean runtime", facts["tensorrt_lean"], _LEAN_FIX, _trt_version),
        tensorrt_rtx(facts["tensorrt_rtx"], gpu, jetson=jetson),
    ]


def onnxruntime(facts: Facts, gpu: Facts) -> Finding:
    """ONNX Runtime, and whether it uses the GPU that is there."""
    found = package(
        "ONNX Runtime",
        facts,
        'pip install "segopt[cpu]"',
        lambda f: (
            f"{f['version']}, providers: {', '.join(p.removesuffix('ExecutionProvider') for p in f['providers'])}"
        ),
    )
    if found.status != "ok":
        return found
    rivals = [each for each in ("onnxruntime", "onnxruntime-gpu") if installed_version(each) is not None]
    if len(rivals) > 1:
        # Both unpack into one folder; whichever was installed last decides which providers exist.
        fix = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        return found.but(f"{' and '.join(rivals)} overwrite each other", fix)
    if gpu.get("gpus") and "CUDAExecutionProvider" not in facts["providers"]:
        fix = "for the GPU: pip uninstall onnxruntime, pip install onnxruntime-gpu"
        return found.but("none uses the GPU", fix)
    if gpu.get("gpus") and facts["cuda_trouble"]:
        return found.but(
            f"CUDA does not load: {facts['cuda_trouble']}", 'pip install "onnxruntime-gpu[cuda,cudnn]"'
        )
    if gpu.get("gpus") and facts.get("tensorrt_trouble"):
        fix = f'for --device tensorrt: pip install "{PROVIDERS_TENSORRT}", which its provider is built for'
        return found.but(f"TensorRT's provider does not load: {facts['tensorrt_trouble']}", fix)
    return found


def nvidia_gpu(facts: Facts, *, jetson: bool) -> Finding:
    """The GPUs, and what the driver says where there is none."""
    fix = "flash JetPack" if jetson else "an NVIDIA GPU and its driver; ONNX Runtime on the CPU works without"
    gpus = facts.get("gpus", [])
    if "broken" in facts or not gpus:
        reason = str(facts.get("broken") or facts.get("error") or "the driver lists no GPU")
        driver = facts.get("version")
        if driver:
            fix = "reboot after a driver update; in a container: --gpus all (or --runtime nvidia)"
            return Finding("NVIDIA GPU", "warning", f"driver {driver}, but {reason}", fix)
        return Finding("NVIDIA GPU", "missing", reason, fix)
    cards = "; ".join(
        f"{gpu['name']} (compute capability {gpu['compute_capability']}, {gpu['memory'] / 2**30:.1f} GiB)"
        for gpu in gpus
    )
    return Finding(
        "NVIDIA GPU", "ok", f"{cards}; driver {facts['version'] or '?'}, CUDA {cuda_version_text(facts['cuda'])}"
    )


def cuda_bindings(facts: Facts, gpu: Facts, *, jetson: bool) -> Finding:
    """cuda-bindings, which must not be of a later major version of CUDA than the driver."""
    extra = "jetson" if jetson else "gpu"
    found = package("cuda-bindings", facts, f'pip install "segopt[{extra}]"', _cuda_version)
    driver = gpu.get("cuda", 0)
    if found.status == "ok" and 0 < driver // 1000 < facts["cuda"] // 1000:
        cuda = driver // 1000
        packages = f"'cuda-bindings=={cuda}.*' tensorrt-cu{cuda} (or tensorrt-rtx-cu{cuda})"
        fix = "update the driver" if driver < OLDEST_CUDA else f"update the driver, or pip install {packages}"
        return found.but(f"the driver knows CUDA {cuda_version_text(driver)}", fix)
    return found


def tensorrt(name: FlavorName, facts: Facts, fix: str) -> Finding:
    """A TensorRT, which must be of a major version that segopt was written for."""
    traits = TRAITS[name]
    found = package(traits.title, facts, fix, _trt_version)
    if found.status == "ok" and facts["version"].split(".")[0] not in map(str, traits.majors):
        known = " and ".join(map(str, traits.majors))
        return found.but(f"segopt is written for {known}", "install one of these, or another segopt")
    return found


def tensorrt_rtx(facts: Facts, gpu: Facts, *, jetson: bool) -> Finding:
    """TensorRT-RTX, which knows fewer GPUs than TensorRT."""
    capabilities = TRAITS["tensorrt-rtx"].compute_capabilities
    fix = f'pip install "segopt[rtx]" (GPUs of compute capability {", ".join(capabilities)})'
    found = tensorrt("tensorrt-rtx", facts, "not made for Jetson; use TensorRT" if jetson else fix)
    here = [each["compute_capability"] for each in gpu.get("gpus", [])]
    if found.status == "ok" and here and here[0] not in capabilities:
        trouble = f"builds plans, but not for this GPU ({here[0]}); it knows {', '.join(capabilities)}"
        return found.but(trouble, "use TensorRT")
    return found


def _cuda_version(facts: Facts) -> str:
    version = facts["version"] or installed_version("cuda-bindings") or "?"
    return f"{version}, for CUDA {cuda_version_text(facts['cuda'])}" if facts["cuda"] else str(version)


def _trt_version(facts: Facts) -> str:
    return f"{facts['version']}{'' if facts['builder'] else ', runs plans and builds none'}"


_LEAN_FIX = "only for plans built version-compatible: pip install tensorrt_lean"


def _tensorrt_fix(jetson: bool) -> str:
    if jetson:
        return "sudo apt install python3-libnvinfer, in a venv made with --system-site-packages"
    return 'pip install "segopt[gpu]"'
