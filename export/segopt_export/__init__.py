"""From torchvision's segmentation networks to one static ONNX file. Needs PyTorch; the runtime does not.

>>> import segopt_export
>>> made = segopt_export.export("panoptic", weights="demo", output="demo.onnx")  # doctest: +SKIP
>>> print(made.path, made.card.canvas, made.notes)  # doctest: +SKIP

Only what ``segopt_export.__all__`` names is public. Every other module may change with any release.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segopt_export.packages import need_export_packages, need_wrap_packages

if TYPE_CHECKING:
    from segopt_export.exported import Exported
    from segopt_export.from_options import export
    from segopt_export.networks.settings import settings_of
    from segopt_export.wrapping.from_options import wrap

__all__ = ["Exported", "export", "settings_of", "wrap"]

_HOMES = {
    "Exported": "exported",
    "export": "from_options",
    "settings_of": "networks.settings",
    "wrap": "wrapping.from_options",
}


def __getattr__(name: str) -> Any:
    # Imported when first asked for: PyTorch takes seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    (need_wrap_packages if name == "wrap" else need_export_packages)()
    value = globals()[name] = getattr(import_module(f"segopt_export.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
