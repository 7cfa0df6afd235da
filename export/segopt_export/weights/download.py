"""Fetches published weights files, once, and checks their hashes."""

from __future__ import annotations

import os
import urllib.error
from pathlib import Path
from urllib.parse import urlparse

import torch
from torchvision.models import WeightsEnum

from segopt.errors import ExportError
from segopt_export.weights.checkpoint import sha256_of

MIRROR_VARIABLE = "SEGOPT_WEIGHTS_MIRROR"
"""Environment variable: a URL that holds torchvision's weight files, for networks without access to PyTorch's."""


def default_url(weights: WeightsEnum) -> str:
    """Where torchvision's best weights are, or where the mirror has them."""
    return mirrored(str(weights.url))


def mirrored(url: str) -> str:
    """The same file at the mirror, where one is named."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    return f"{mirror.rstrip('/')}/{Path(urlparse(url).path).name}" if mirror else url


def download(url: str, *, sha256: str | None = None) -> Path:
    """Fetch a weights file into torch.hub's cache, once, and check its hash.

    Args:
        url: where the file is.
        sha256: its first digits; empty where they are not known. None takes them from the file's name, which has
            them in torchvision's case: ``NAME-0123abcd.pth``.

    Raises:
        ExportError: it cannot be fetched, or is not the file that its name promises.
    """
    name = Path(urlparse(url).path).name
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    digits = Path(name).stem.rpartition("-")[2] if sha256 is None else sha256
    if cached.exists():
        if not sha256_of(cached).startswith(digits):
            raise ExportError(
                f"{cached}: is damaged (its hash is another than it must be); delete it and try again"
            )
        return cached
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(cached), hash_prefix=digits or None, progress=os.isatty(2))
    except urllib.error.HTTPError as error:
        raise ExportError(
            f"{url}: the server answers {error.code} ({error.reason}); {_offline_fix(name)}"
        ) from None
    except RuntimeError:
        raise ExportError(
            f"{url}: what came is not the file that was published (hash differs); try again, or "
            + _offline_fix(name)
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise ExportError(f"{url}: cannot be downloaded ({reason}); {_offline_fix(name)}") from None
    return cached


def _offline_fix(name: str) -> str:
    return f"give {name} as a file, or take --weights demo or --weights random, which need no network"
