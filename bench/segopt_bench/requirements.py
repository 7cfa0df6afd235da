"""What an evaluation needs beside the package itself."""

import importlib.util

from segopt.errors import SegoptError


def need_evaluation_packages(what: str) -> None:
    """Raise a SegoptError, which begins with ``what``, where an evaluation lacks a package."""
    for package in ("pycocotools", "PIL"):
        if importlib.util.find_spec(package) is None:
            raise SegoptError(f"{what} needs {package}, which is not installed: pip install 'segopt[bench]'")
