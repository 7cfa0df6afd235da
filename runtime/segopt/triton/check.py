"""Validates a model repository without a server: what it says of itself, against its cards and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segopt.errors import CardError, EngineError, SegoptError, UsageError, first_line
from segopt.model import sidecar
from segopt.model.card import Card
from segopt.model.reading import read_card
from segopt.model.tensors import TensorSpec, check_tensors
from segopt.thresholds import view_of
from segopt.triton.answers import ANSWERS
from segopt.triton.layout import CARD_NAME, PARAMETERS, TRITON_TYPES, VERSION

_FILES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
_INPUTS = {"image": ("TYPE_UINT8", (-1, -1, 3)), "encoded": ("TYPE_STRING", (1,))}


def check_repository(folder: Path) -> tuple[list[str], list[str]]:
    """Look for what would keep a repository from being served, or let it answer wrongly.

    Returns:
        The names of its models, and a line for each problem, which names the file.

    Raises:
        EngineError: the packages that read Triton's configurations are not installed.
        UsageError: there is no repository.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; give one that `segopt triton --output` wrote")
    parse = _parser()
    configs: dict[str, Any] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*/config.pbtxt")):
        try:
            configs[path.parent.name] = parse(path)
        except SegoptError as error:
            problems.append(str(error))
    if not configs and not problems:
        raise UsageError(f"{folder}: has no NAME/config.pbtxt; give a folder that `segopt triton --output` wrote")
    fronts = [name for name, config in configs.items() if config.backend == "python"]
    if not fronts and not problems:
        problems.append(f"{folder}: has no front, a model of the backend python")
    for name, config in configs.items():
        if config.name != name:
            problems.append(
                f"{folder / name / 'config.pbtxt'}: is for {config.name!r} and in the folder of {name!r}"
            )
    for name in fronts:
        problems += _of_front(folder, name, configs)
    return list(configs), problems


def _parser() -> Any:
    try:
        from google.protobuf import text_format  # type: ignore[import-untyped]
        from tritonclient.grpc.model_config_pb2 import ModelConfig
    except ImportError as error:
        raise EngineError(
            f"--check reads Triton's configurations with tritonclient ({first_line(error)}); install it with "
            "`pip install 'segopt[triton]'`"
        ) from None

    def parse(path: Path) -> Any:
        try:
            return text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise CardError(f"{path}: is no configuration of a Triton model ({first_line(error)[:200]})") from None

    return parse


def _of_front(folder: Path, name: str, configs: Mapping[str, Any]) -> Iterator[str]:
    config, version = configs[name], folder / name / VERSION
    path = folder / name / "config.pbtxt"
    if not (version / "model.py").is_file():
        yield f"{version / 'model.py'}: is missing"
    given = {key: value.string_value for key, value in config.parameters.items()}
    try:
        card = Card.from_json((version / CARD_NAME).read_text(encoding="utf-8"), source=str(version / CARD_NAME))
        limits = {each: convert(given[each]) for each, convert in PARAMETERS.items() if given.get(each)}
        view, _ = view_of(card, path, **limits)
        networks = {
            network.partition(":")[0]: int(network.partition(":")[2]) for network in given["networks"].split()
        }
    except OSError as error:
        yield f"{version / CARD_NAME}: cannot be read ({error.strerror})"
        return
    except SegoptError as error:
        yield str(error) if str(folder) in str(error) else f"{path}: {error}"
        return
    except (KeyError, ValueError) as error:
        yield f"{path}: its parameters are damaged ({first_line(error)})"
        return
    outputs = {output: (answer.data_type, answer.dims) for output, answer in ANSWERS[view].items()}
    for what, wanted in (("input", _INPUTS), ("output", outputs)):
        found = {each.name: (_type(each), tuple(each.dims)) for each in getattr(config, what)}
        for each in sorted({*wanted, *found}):
            if found.get(each) != wanted.get(each):
                yield (
                    f"{path}: {what} {each} is {_shown(found.get(each))}, and the front of a {view} view has "
                    f"{_shown(wanted.get(each))}"
                )
    if config.max_batch_size > 1 and not all(
        each.allow_ragged_batch for each in config.input if each.name == "image"
    ):
        yield f"{path}: image lacks allow_ragged_batch: frames of several sizes would never share a batch"
    if networks and config.max_batch_size < max(networks.values()):
        largest = max(networks.values())
        yield f"{path}: max_batch_size {config.max_batch_size} leaves a network of batch {largest} idle"
    for network, batch in networks.items():
        if network in configs:
            yield from _of_network(folder, network, configs[network], replace(card, batch=batch))
        else:
            yield f"{folder / network}: is missing, and {path} names it"


def _of_network(folder: Path, name: str, config: Any, card: Card) -> Iterator[str]:
    path = folder / name / "config.pbtxt"
    types = {triton: dtype for dtype, triton in TRITON_TYPES.items()}
    found = {
        each.name: TensorSpec(types.get(_type(each), np.dtype(np.void)), tuple(each.dims))
        for what in ("input", "output")
        for each in getattr(config, what)
    }
    try:
        check_tensors(card, found, path)
    except EngineError as error:
        yield str(error)
    if config.max_batch_size:
        yield f"{path}: max_batch_size is {config.max_batch_size}, and a network of fixed shapes needs 0"
    if not config.model_warmup:
        yield f"{path}: has no model_warmup: the first request would wait for what the backend puts off"
    file = folder / name / VERSION / _FILES.get(config.backend, "model.onnx")
    if config.backend not in _FILES:
        yield f"{path}: backend {config.backend!r} is neither onnxruntime nor tensorrt"
    try:
        own = read_card(file)
        if file.suffix == ".plan":
            sidecar.read_plan(file)
    except SegoptError as error:
        yield str(error)
        return
    for what in ("mode", "canvas", "batch", "categories", "weights"):
        if getattr(own, what) != getattr(card, what):
            yield f"{file}: has another {what} than the front's {CARD_NAME}; write the repository again"


def _type(tensor: Any) -> str:
    return str(
        type(tensor).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
    )


def _shown(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "missing" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
