"""The GPU that segopt works on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from segopt.cuda.calls import CudaError, call, driver_call
from segopt.driver import OLDEST_CUDA, Gpu, cuda_version_text, jetson_board
from segopt.errors import EngineError


def require_gpu(device: int = 0) -> Gpu:
    """The GPU to work on.

    Args:
        device: CUDA's number of it; ``CUDA_VISIBLE_DEVICES`` counts.

    Raises:
        EngineError: cuda-bindings, the driver or the GPU is missing, or the driver is too old; says which.
    """
    try:
        count = call("cudaGetDeviceCount")
        if device >= count:
            numbers = "cuda:0 alone" if count == 1 else f"cuda:0 to cuda:{count - 1}"
            raise EngineError(f"there is no GPU cuda:{device}: CUDA sees {numbers}")
        properties = call("cudaGetDeviceProperties", device)
    except CudaError as error:
        raise EngineError(_what_is_missing(error)) from None
    return Gpu(
        properties.name.decode(),
        f"{properties.major}.{properties.minor}",
        int(properties.totalGlobalMem),
        integrated=bool(properties.integrated),
        board=jetson_board() if properties.integrated else "",
    )


@contextlib.contextmanager
def on_device(device: int) -> Iterator[None]:
    """Let this thread work on a GPU, and on its former one afterwards.

    Every thread begins on GPU 0, whatever another thread chose, and other users of CUDA in the process, such as
    PyTorch, rely on what they chose. The driver puts the former context back: ``cudaSetDevice`` would make one on
    a GPU that nobody uses.

    Args:
        device: CUDA's number of the GPU.
    """
    former = driver_call("cuCtxGetCurrent")
    call("cudaSetDevice", device)
    try:
        yield
    finally:
        with contextlib.suppress(CudaError):
            driver_call("cuCtxSetCurrent", former)


def device_memory() -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, and all of it.

    Raises:
        CudaError: there is no GPU to ask.
    """
    free, total = call("cudaMemGetInfo")
    return int(free), int(total)


def _what_is_missing(error: CudaError) -> str:
    if error.code == "cudaErrorInsufficientDriver":
        driver = call("cudaDriverGetVersion")
        if driver == 0:
            return (
                "this machine has no NVIDIA driver; a TensorRT plan needs an NVIDIA GPU and its driver "
                "(in a container: `--gpus all`, on Jetson `--runtime nvidia`)"
            )
        bindings = call("cudaRuntimeGetVersion")
        too_old = (
            f"the NVIDIA driver is too old: it knows CUDA {cuda_version_text(driver)}, and cuda-bindings is "
            f"for {cuda_version_text(bindings)}; update the driver"
        )
        if driver < OLDEST_CUDA:
            return f"{too_old} (CUDA {cuda_version_text(OLDEST_CUDA)} is the oldest that segopt can work with)"
        return (
            f"{too_old}, or "
            f"`pip install 'cuda-bindings=={driver // 1000}.*'` and a TensorRT for that CUDA (tensorrt-cu"
            f"{driver // 1000} or tensorrt-rtx-cu{driver // 1000} in place of tensorrt or tensorrt-rtx)"
        )
    if error.code == "cudaErrorNoDevice":
        return (
            "the NVIDIA driver finds no GPU; check `nvidia-smi` and CUDA_VISIBLE_DEVICES "
            "(in a container: `--gpus all`, on Jetson `--runtime nvidia`)"
        )
    return f"the GPU cannot be used: {error}; `segopt doctor` says what this machine has"
