"""Names what is missing where a package's native library cannot be loaded."""

from __future__ import annotations

import re

_MISSING = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")

# By the start of the library's name; what to do.
_FIXES: tuple[tuple[str, str], ...] = (
    ("libGL.so", "sudo apt install libgl1, or pip uninstall opencv-python and pip install opencv-python-headless"),
    ("libcuda.so", "install NVIDIA's driver; in a container, start it with --gpus all or --runtime nvidia"),
    ("libnvidia-ml.so", "install NVIDIA's driver; in a container, start it with --gpus all or --runtime nvidia"),
    ("libnvinfer", "install TensorRT's libraries (https://docs.nvidia.com/deeplearning/tensorrt)"),
    ("libtensorrt_rtx", "pip install --force-reinstall 'segopt[rtx]'"),
    *(
        (f"lib{name}", "pip install 'segopt[gpu]', which brings CUDA's libraries")
        for name in ("cudart", "cudnn", "cublas", "cufft", "curand", "nvrtc", "nvJitLink", "cusparse", "cusolver")
    ),
    *(
        (library, f"sudo apt install {package}")
        for library, package in (
            ("libEGL.so", "libegl1"),
            ("libSM.so", "libsm6"),
            ("libICE.so", "libice6"),
            ("libX11.so", "libx11-6"),
            ("libXext.so", "libxext6"),
            ("libXrender.so", "libxrender1"),
            ("libgcc_s.so", "libgcc-s1"),
            ("libglib-2.0.so", "libglib2.0-0"),
            ("libgobject-2.0.so", "libglib2.0-0"),
            ("libgthread-2.0.so", "libglib2.0-0"),
            ("libgomp.so", "libgomp1"),
            ("libstdc++.so", "libstdc++6"),
            ("libxcb.so", "libxcb1"),
            ("libz.so", "zlib1g"),
        )
    ),
)


def missing_library(error: BaseException) -> str | None:
    """One line that names the missing library and what brings it.

    Args:
        error: what an import or ``dlopen`` raised.

    Returns:
        None where the error is another one.
    """
    found = _MISSING.search(str(error))
    if found is None:
        return None
    name = found[1]
    fix = next((fix for start, fix in _FIXES if name.startswith(start)), None)
    fix = fix or f"find the package that has it (on Debian and Ubuntu: apt-file search {name}) and install it"
    return f"the library {name} is missing on this machine; {fix}"
