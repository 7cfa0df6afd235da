"""From torchvision's segmentation networks to one static ONNX file. Needs PyTorch; the runtime does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segopt_export.networks.settings import settings_of

__all__ = ["settings_of"]


def __getattr__(name: str) -> Any:
    # Importing any module in here imports this package, and few of them need torchvision.
    if name == "settings_of":
        from segopt_export.networks.settings import settings_of

        return settings_of
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
