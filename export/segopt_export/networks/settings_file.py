"""Settings from a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from segopt.errors import ExportError
from segopt_export.networks.setting_values import to_json
from segopt_export.networks.settings import OF_ANY_NETWORK, QUERY_SETTINGS, SETTINGS, Settings


def read_query_settings(source: Path | Mapping[str, Any]) -> Settings:
    """Read the settings of a query network: normalization, and the thresholds of its merge.

    Args:
        source: the JSON file, or what is in it.

    Raises:
        ExportError: names the file, the key and what it must be.
    """
    name, content = (str(source), _read(source)) if isinstance(source, Path) else ("settings", to_json(source))
    if not isinstance(content, Mapping):
        raise ExportError(f'{name}: must be a JSON object, such as {{"query_score": 0.8}}')
    parsed = {}
    for key, value in content.items():
        if key not in QUERY_SETTINGS:
            raise ExportError(
                f"{name}: has an unknown key {str(key)[:40]!r}; query networks have {', '.join(QUERY_SETTINGS)}"
            )
        try:
            parsed[key] = QUERY_SETTINGS[key](value)
        except ValueError as error:
            raise ExportError(f"{name}: {key} is {_short(value)}, and {error}") from None
    return parsed


def read_settings(source: Path | Mapping[str, Any], *, detector: bool) -> Settings:
    """Read what :func:`segopt_export.networks.settings.settings_of` made of a live model.

    Args:
        source: the JSON file, or what is in it.
        detector: whether they are of a detector; a semantic network has ``image_mean`` and ``image_std`` alone.

    Raises:
        ExportError: names the file, the key and what it must be.
    """
    name, content = (str(source), _read(source)) if isinstance(source, Path) else ("settings", to_json(source))
    if not isinstance(content, Mapping):
        raise ExportError(
            f'{name}: must be a JSON object, such as {{"box_nms_thresh": 0.5}}; settings_of(model) makes one'
        )
    parsed = {}
    for key, value in content.items():
        if key not in SETTINGS:
            close = get_close_matches(str(key), SETTINGS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(SETTINGS)}"
            raise ExportError(f"{name}: has an unknown key {str(key)[:40]!r}; {hint}")
        if not detector and key not in OF_ANY_NETWORK:
            raise ExportError(
                f"{name}: {key} is of a detector; a semantic network takes {' and '.join(OF_ANY_NETWORK)}"
            )
        try:
            parsed[key] = SETTINGS[key].parse(value)
        except ValueError as error:
            raise ExportError(f"{name}: {key} is {_short(value)}, and {error}") from None
    if "min_size" in parsed and "max_size" in parsed and parsed["min_size"][-1] > parsed["max_size"]:
        raise ExportError(
            f"{name}: min_size {parsed['min_size'][-1]} is above max_size {parsed['max_size']}; they are the "
            "shortest and the longest side of a resized picture"
        )
    return parsed


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be read ({error.strerror}); give the JSON file that settings_of(model) makes"
        ) from None
    except (ValueError, RecursionError):
        raise ExportError(f"{path}: is no JSON; write it with json.dump(settings_of(model), file)") from None


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
