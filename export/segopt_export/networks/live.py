"""Networks from the user's own code: a module, or an import path to what builds one."""

from __future__ import annotations

import importlib
import sys
from copy import deepcopy
from pathlib import Path

from torch import nn

from segopt.errors import ExportError
from segopt_export.networks.settings import Settings, apply_settings
from segopt_export.networks.table import Branch, Network


def is_import_path(name: str) -> bool:
    """Whether a network's name is ``package.module:callable``."""
    return ":" in name


def import_module_of(path: str) -> nn.Module:
    """Import ``package.module:callable`` and call it; what is a module already is taken as it is.

    Modules are looked for in the current folder, too, as ``python -m`` does.

    Raises:
        ExportError: it cannot be imported, raises an error, or gives no ``torch.nn.Module``.
    """
    where, _, name = path.partition(":")
    if not where or not name:
        raise ExportError(
            f"{path}: is no import path; give package.module:callable, such as my_project.models:build"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(where)
    except ModuleNotFoundError as error:
        own = error.name is not None and f"{where}.".startswith(f"{error.name}.")
        fix = "run segopt in the folder that holds it, or install it" if own else "install it"
        raise ExportError(f"{path}: there is no module {error.name}; {fix}") from None
    except Exception as error:
        raise ExportError(f"{path}: importing {where} raised {_told(error)}") from error
    for step in name.split("."):
        if not hasattr(found, step):
            raise ExportError(f"{path}: {where} has no {name}; name a function that returns the network")
        found = getattr(found, step)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ExportError(f"{path}: is a {type(found).__name__}; name a function that returns the network")
        try:
            found = found()
        except Exception as error:
            raise ExportError(f"{path}: calling it without arguments raised {_told(error)}") from error
    if not isinstance(found, nn.Module):
        raise ExportError(f"{path}: returned a {type(found).__name__}, not a torch.nn.Module")
    return found


def live_network(module: nn.Module, name: str, branch: Branch, settings: Settings) -> Network:
    """A network of the user's own, ready to be exported: a copy in single precision, on the CPU, in eval mode.

    Args:
        module: left as it is; wrappers of DataParallel and ``torch.compile`` are taken off.
        name: for messages and the card.
        branch: what it answers.
        settings: that are given to it, over its own.

    Raises:
        ExportError: it cannot be copied, or cannot take the settings.
    """
    while isinstance(inner := getattr(module, "_orig_mod", getattr(module, "module", None)), nn.Module) and (
        len(list(module.children())) == 1
    ):
        module = inner
    try:
        copy = deepcopy(module).cpu().float().eval()
    except Exception as error:
        raise ExportError(
            f"{name}: cannot be copied ({_told(error)}); give a module that copy.deepcopy takes"
        ) from None
    try:
        apply_settings(copy, settings, has_weights=True)
    except ValueError as error:
        raise ExportError(f"{name} cannot take the settings: {error}") from None
    return Network(name, branch, class_layer="", settings=settings, module=copy)


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
