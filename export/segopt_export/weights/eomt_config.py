"""What the files beside EoMT's weights say: ``config.json`` and ``preprocessor_config.json`` of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segopt.errors import ExportError
from segopt_export.networks.eomt import EomtShape
from segopt_export.networks.setting_values import RGB, mean, std

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
DINOV3 = "eomt_dinov3"
MAX_CLASSES = 255
"""A label map is one byte a pixel, and one value of it means "no segment"."""

_SIZES: Mapping[str, tuple[str, int, int]] = {
    "hidden": ("hidden_size", 8, 8192),
    "layers": ("num_hidden_layers", 1, 256),
    "heads": ("num_attention_heads", 1, 256),
    "blocks": ("num_blocks", 1, 256),
    "queries": ("num_queries", 1, 3840),
    "upscale_blocks": ("num_upscale_blocks", 1, 6),
    "registers": ("num_register_tokens", 0, 256),
    "mlp_ratio": ("mlp_ratio", 1, 64),
    "patch": ("patch_size", 4, 64),
    "side": ("image_size", 32, 8192),
}
"""Field of :class:`EomtShape` to its key, and the smallest and the largest value that it can have."""
_WANTED: Mapping[Any, Mapping[str, Any]] = {
    "eomt": {"hidden_act": "gelu", "use_swiglu_ffn": False, "num_channels": 3},
    DINOV3: {
        "hidden_act": "gelu",
        "use_gated_mlp": False,
        "num_channels": 3,
        **dict.fromkeys(("query_bias", "value_bias", "proj_bias", "mlp_bias"), True),
    },
}
"""By architecture, what a configuration may not say otherwise."""
_USUAL_THETA = 100.0
_USUAL: Mapping[str, Any] = {
    "num_blocks": 4,
    "num_queries": 200,
    "num_upscale_blocks": 2,
    "num_register_tokens": 4,
    "mlp_ratio": 4,
    "patch_size": 16,
    "image_size": 640,
}
"""What a file means that leaves a key out."""


@dataclass(frozen=True)
class EomtFiles:
    """What a folder says of its network beside the weights."""

    shape: EomtShape
    names: tuple[str, ...]
    """Of the classes, by index."""
    windowed: bool | None
    """Whether a picture is looked at through windows, as semantic networks do; None where no file says it."""
    categories: Path | None
    """The file that says which classes are things, in the form of a class file; None where none does."""
    mean: RGB | None
    """RGB, of pixels scaled to 0..1; None where no file says it."""
    std: RGB | None


def read_eomt_files(folder: Path) -> EomtFiles:
    """Read a folder's configuration.

    Raises:
        ExportError: a file is missing, damaged, or of another architecture or task; the message names it.
    """
    path = folder / CONFIG
    config = _read(path, "the folder must hold config.json and model.safetensors")
    _check_architecture(config, path)
    sizes: dict[str, Any] = {
        field: _size(config, key, low, high, path) for field, (key, low, high) in _SIZES.items()
    }
    if config["model_type"] == DINOV3:
        sizes |= _of_dinov3(config, sizes["hidden"], path)
    names = _names(config.get("id2label"), path)
    shape = EomtShape(classes=len(names), norm_eps=_eps(config, path), **sizes)
    if shape.hidden % shape.heads:
        raise ExportError(f"{path}: hidden_size {shape.hidden} is no multiple of {shape.heads} attention heads")
    if 32 % shape.patch:
        raise ExportError(f"{path}: patch_size is {shape.patch}; segopt exports patches of 4, 8, 16 or 32 pixels")
    if shape.blocks > shape.layers or shape.side % shape.patch:
        raise ExportError(
            f"{path}: num_blocks {shape.blocks} of {shape.layers} layers, or patches of {shape.patch} pixels on "
            f"{shape.side}, do not fit together; download the folder again"
        )
    own = folder / PREPROCESSOR
    preprocessor = _read(own, "") if own.exists() else {}
    windowed = preprocessor.get("do_split_image")
    if windowed not in (None, True, False):
        raise ExportError(f"{own}: do_split_image is {str(windowed)[:40]}, and must be true or false")
    categories = path if "categories" in config else None
    own_mean, own_std = (_rgb(preprocessor, which, own) for which in ("mean", "std"))
    return EomtFiles(shape, names, windowed, categories, own_mean, own_std)


def _read(path: Path, hint: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ExportError(f"{path}: no such file; {hint}") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except (ValueError, RecursionError):
        raise ExportError(f"{path}: is no JSON or is damaged; download the folder again") from None
    if not isinstance(content, dict):
        raise ExportError(f"{path}: is no JSON object; download the folder again")
    return content


def _check_architecture(config: Mapping[str, Any], path: Path) -> None:
    kind = config.get("model_type")
    if kind not in _WANTED:
        raise ExportError(f"{path}: is of a {str(kind)[:40]!r}, not of an EoMT; give the folder of one")
    for key, value in _WANTED[kind].items():
        if config.get(key, value) != value:
            raise ExportError(f"{path}: {key} is {str(config[key])[:40]}; segopt exports EoMT with {value} alone")


def _of_dinov3(config: Mapping[str, Any], hidden: int, path: Path) -> dict[str, Any]:
    """Fields of :class:`EomtShape` that the configuration of an EoMT on DINOv3 has in its own way."""
    wide, rope = config.get("intermediate_size", 4 * hidden), config.get("rope_parameters") or {}
    if type(wide) is not int or wide < hidden or wide % hidden:
        raise ExportError(f"{path}: intermediate_size is {str(wide)[:40]}, no multiple of hidden_size {hidden}")
    if not isinstance(rope, dict):
        raise ExportError(f"{path}: rope_parameters is {str(rope)[:40]}, and must be an object")
    theta: Any = rope.get("rope_theta", _USUAL_THETA)
    if type(theta) not in (int, float) or not 1 < theta < 1e9:
        raise ExportError(f"{path}: rope_theta is {str(theta)[:40]}, and must be a number above 1 such as 100")
    if rope.get("rope_type", "default") != "default":
        raise ExportError(f"{path}: rope_type is {str(rope['rope_type'])[:40]}; segopt exports the default alone")
    key_bias = config.get("key_bias", False)
    if type(key_bias) is not bool:
        raise ExportError(f"{path}: key_bias is {str(key_bias)[:40]}, and must be true or false")
    return {"mlp_ratio": wide // hidden, "rope_theta": float(theta), "key_bias": key_bias}


def _size(config: Mapping[str, Any], key: str, low: int, high: int, path: Path) -> int:
    value = config.get(key, _USUAL.get(key))
    if isinstance(value, list) and len(set(map(str, value))) == 1:
        value = value[0]
    if type(value) is not int or not low <= value <= high:
        raise ExportError(f"{path}: {key} is {str(value)[:40]}, and must be a whole number from {low} to {high}")
    return value


def _eps(config: Mapping[str, Any], path: Path) -> float:
    value = config.get("layer_norm_eps", 1e-6)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise ExportError(f"{path}: layer_norm_eps is {str(value)[:40]}, and must be a small number such as 1e-6")
    return float(value)


def _names(labels: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(labels, dict) or set(labels) != {str(i) for i in range(len(labels))}:
        raise ExportError(f"{path}: its id2label does not name the classes 0, 1, 2 ...; download the folder again")
    if not 1 <= len(labels) <= MAX_CLASSES:
        raise ExportError(f"{path}: has {len(labels)} classes, and segopt takes 1 to {MAX_CLASSES}")
    return tuple(str(labels[str(i)]) for i in range(len(labels)))


def _rgb(preprocessor: Mapping[str, Any], which: str, path: Path) -> RGB | None:
    value = preprocessor.get(f"image_{which}")
    if value is None:
        return None
    try:
        return (mean if which == "mean" else std)(value)
    except ValueError as error:
        raise ExportError(f"{path}: image_{which} is {str(value)[:60]}, and {error}") from None
