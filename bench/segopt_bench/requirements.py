"""What an evaluation and a training need beside the package itself."""

import importlib.util
from collections.abc import Sequence

from segopt.errors import SegoptError


def need_evaluation_packages(what: str) -> None:
    """Raise a SegoptError, which begins with ``what``, where an evaluation lacks a package."""
    _need(what, ("pycocotools", "PIL"))


def need_training_packages(what: str) -> None:
    """The same for a training of query networks."""
    _need(what, ("scipy", "PIL"))


def _need(what: str, packages: Sequence[str]) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise SegoptError(f"{what} needs {package}, which is not installed: pip install 'segopt[bench]'")
