"""The packages that an export needs."""

from __future__ import annotations

import importlib.util

from segopt.errors import ExportError


def need_export_packages() -> None:
    """Raise an ExportError where what an export needs is not installed."""
    for package in ("torch", "torchvision", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"export needs {package}, which is not installed: pip install 'segopt[export]'")


def need_wrap_packages() -> None:
    """Raise an ExportError where what a wrap needs is not installed; PyTorch is not among it."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"wrap needs {package}, which is not installed: pip install 'segopt[wrap]'")
