"""Weights for EoMT: a folder of Hugging Face's, a file of the authors' training code, or random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from segopt.errors import ExportError
from segopt.files.hashing import sha256_of_file
from segopt.model.card import WeightsOrigin
from segopt.model.categories import plain_name
from segopt_export.classes import ClassEntry, coco_panoptic_entries, read_classes
from segopt_export.networks.eomt import EoMT, EomtShape
from segopt_export.networks.table import ANY_EOMT, QUERY_NETWORKS, Network
from segopt_export.weights.checkpoint import read_groups
from segopt_export.weights.eomt_config import CONFIG, MAX_CLASSES, PREPROCESSOR, EomtFiles, read_eomt_files
from segopt_export.weights.eomt_names import huggingface_names
from segopt_export.weights.hub import fetch_folder, is_hub_id
from segopt_export.weights.known_things import known_data_set
from segopt_export.weights.loading import Trained, WeightsRequest, check_finite, differences, sha256_of_state
from segopt_export.weights.random_eomt import enliven_eomt

_SAFETENSORS, _BIN = "model.safetensors", "pytorch_model.bin"
_SHOWN = 3


def load_eomt(network: Network, request: WeightsRequest) -> Trained:
    """Build an EoMT and give it weights.

    Args:
        network: of :data:`segopt_export.networks.table.QUERY_NETWORKS`.
        request: ``random``, a folder with ``config.json`` and ``model.safetensors``, a folder or file of the
            authors' own form (``pytorch_model.bin``), or a model of the Hugging Face hub (``owner/name``).

    Raises:
        ExportError: the weights cannot be had, or do not fit the network.
    """
    assert network.queries is not None
    if request.key is not None or request.style is not None or request.frozen_norm_eps is not None:
        raise ExportError(f"{network.name}: weights key, style and frozen norms are not for query networks")
    if request.spec == "random":
        if network.name == ANY_EOMT:
            raise ExportError(
                f"{ANY_EOMT} has the sizes of its weights; for random ones give --network eomt_small"
            )
        return _random(network, network.queries, request)
    if request.spec in ("default", "demo"):
        raise ExportError(
            f"{network.name}: there are no {request.spec} weights of it; give --weights FOLDER with config.json "
            "and model.safetensors, a model of the Hugging Face hub (OWNER/NAME), or random for tests"
        )
    path, name = Path(request.spec), None
    if is_hub_id(request.spec):
        path = fetch_folder(request.spec, [CONFIG], [_SAFETENSORS, _BIN], [PREPROCESSOR])
        name = f"{request.spec.partition('@')[0]}@{path.name}"
    files = read_eomt_files(path) if path.is_dir() and (path / CONFIG).exists() else None
    file = _weights_file(path, files)
    state = _state(file, rotary=files is not None and files.shape.rope_theta is not None)
    masked = _masked(state.pop("attn_mask_probs", None), file)
    shape = files.shape if files else _shape_of(state, network.queries, file)
    if not files and masked:
        shape = replace(shape, blocks=len(masked))
    windowed, notes = _windowed(network, files, path)
    shape = replace(shape, windowed=windowed)
    usual = network.queries
    if network.name != ANY_EOMT and (usual.hidden, usual.layers) != (shape.hidden, shape.layers):
        raise ExportError(f"{path}: {_other_size(shape, network)}")
    model = _filled(shape, masked, state, file)
    class_file = request.class_file
    if class_file is None and files is not None and files.categories is not None:
        class_file = files.categories
        notes.append(f"its classes are those that {class_file.name} lists as categories, things and stuff")
    entries, named, more = _CLASSES[network.branch](files, shape, class_file)
    settings = dict(network.settings)
    if files:
        own = {"image_mean": files.mean, "image_std": files.std}
        settings = {**{name: value for name, value in own.items() if value is not None}, **settings}
    return Trained(
        replace(network, settings=settings),
        model,
        entries,
        named=named,
        origin=WeightsOrigin(name or path.resolve().name, sha256_of_file(file)),
        notes=(*notes, *more),
    )


def _windowed(network: Network, files: EomtFiles | None, path: Path) -> tuple[bool, list[str]]:
    """Whether windows are looked at, and what to say of it."""
    said = files.windowed if files else None
    if said and network.branch != "semantic":
        raise ExportError(
            f"{path}: this is a semantic EoMT, which looks at windows of a picture; export it with --mode semantic"
        )
    if network.branch != "semantic" or said is not None:
        return bool(said), []
    return True, [
        f"{path.name} does not say how pictures are cut: square windows are looked at, as EoMT's semantic "
        'networks do; preprocessor_config.json with {"do_split_image": false} beside it makes it the whole picture'
    ]


def _random(network: Network, shape: EomtShape, request: WeightsRequest) -> Trained:
    if request.class_file:
        raise ExportError(f"{request.class_file}: class names have no meaning for random weights; leave them out")
    entries = coco_panoptic_entries()
    if network.branch == "instance":
        entries = [entry for entry in entries if entry.is_thing]
        shape = replace(shape, classes=len(entries))
    model = EoMT(shape, masked=(False,) * shape.blocks)
    enliven_eomt(model, seed=request.seed)
    origin = WeightsOrigin(f"random (seed {request.seed})", sha256_of_state(model.state_dict()))
    return Trained(network, model.eval(), entries, named=True, origin=origin)


def _weights_file(path: Path, files: EomtFiles | None) -> Path:
    if not path.is_dir():
        return path
    names = (_SAFETENSORS, _BIN) if files else (_BIN,)
    for name in names:
        if (path / name).is_file():
            return path / name
    missing = f"{_SAFETENSORS} or {_BIN}" if files else f"{CONFIG}, nor {_BIN}"
    raise ExportError(f"{path}: has no {missing}; give a folder as `huggingface-cli download` makes it")


def _state(file: Path, *, rotary: bool) -> dict[str, Tensor]:
    tensors = {
        f"{group}.{name}".removeprefix("state_dict.") if group else name: tensor
        for group, each in read_groups(file).items()
        for name, tensor in each.items()
    }
    return huggingface_names(tensors, file, rotary=rotary)


def _masked(probabilities: Tensor | None, file: Path) -> tuple[bool, ...]:
    """Which blocks' queries attend inside their masks; nothing said means all."""
    if probabilities is None:
        return ()
    values: list[float] = probabilities.flatten().tolist()
    for value in values:
        if not (value <= 0 or value >= 1):
            raise ExportError(
                f"{file}: its attn_mask_probs has {value:.3g}: training stopped while masks were being annealed, "
                "and the network would answer by chance; take a checkpoint in which they are 0 or 1"
            )
    return tuple(value >= 1 for value in values)


def _shape_of(state: Mapping[str, Tensor], usual: EomtShape, file: Path) -> EomtShape:
    """The sizes of a file that comes without a configuration; what tensors do not tell is as in the usual one."""
    try:
        hidden, _, patch, _ = state["embeddings.patch_embeddings.projection.weight"].shape
        positions = len(state["embeddings.position_embeddings.weight"])
        return replace(
            usual,
            hidden=hidden,
            patch=patch,
            side=int(positions**0.5) * patch,
            layers=_count(state, "layers."),
            upscale_blocks=_count(state, "upscale_block.block."),
            heads=max(1, hidden // 64),
            registers=state["embeddings.register_tokens"].shape[1],
            queries=len(state["query.weight"]),
            classes=len(state["class_predictor.weight"]) - 1,
        )
    except (KeyError, ValueError, IndexError):
        raise ExportError(f"{file}: are not the weights of an EoMT on DINOv2") from None


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)})


def _other_size(shape: EomtShape, network: Network) -> str:
    for other in QUERY_NETWORKS.values():
        if (
            other.queries
            and other.name != ANY_EOMT
            and (other.queries.hidden, other.queries.layers) == (shape.hidden, shape.layers)
        ):
            return f"these are weights of {other.name}, not of {network.name}; give --network {other.name}"
    return (
        f"this EoMT has {shape.layers} layers of {shape.hidden} channels, which is not {network.name}; give "
        f"--network {ANY_EOMT}, which takes any size"
    )


def _filled(shape: EomtShape, masked: Sequence[bool], state: dict[str, Tensor], file: Path) -> EoMT:
    if not 1 <= shape.classes <= MAX_CLASSES:
        raise ExportError(f"{file}: has {shape.classes} classes, and segopt takes 1 to {MAX_CLASSES}")
    if masked and len(masked) != shape.blocks:
        raise ExportError(
            f"{file}: its attn_mask_probs is for {len(masked)} blocks, and the configuration has {shape.blocks}"
        )
    # Shapes first: a file can claim any, and a network of them would take the memory.
    with torch.device("meta"):
        empty = EoMT(shape)
    if found := differences(empty, state):
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ExportError(f"{file}: does not fit its configuration: {'; '.join(found[:_SHOWN])}{more}")
    model = EoMT(shape, masked=masked)
    model.load_state_dict(state)
    check_finite(model, file)
    return model.eval()


_Classes = tuple[list[ClassEntry], bool, list[str]]
"""By index; whether all is known of them that the export needs; and notes."""


def _panoptic_classes(files: EomtFiles | None, shape: EomtShape, class_file: Path | None) -> _Classes:
    if class_file is not None:
        entries = read_classes(class_file, shape.classes, "panoptic")
        if unsaid := [entry.name for entry in entries if entry.is_thing is None]:
            raise ExportError(
                f"{class_file}: does not say whether {unsaid[0]!r} is a thing; give each category its `isthing`"
            )
        return entries, True, []
    coco = coco_panoptic_entries()
    names = [plain_name(name) for name in files.names] if files else []
    if shape.classes == len(coco):
        alike = sum(a == plain_name(b.name) for a, b in zip(names, coco, strict=False))
        # Files are unsure about the names of stuff ("tree-merged"); of other classes hardly one would agree.
        if not names or alike >= len(coco) / 2 or all(name.startswith("label ") for name in names):
            return coco, True, ["its 133 classes are COCO's: things 0 to 79, stuff 80 to 132"]
    if files and (data_set := known_data_set(files.names)) is not None:
        entries = [ClassEntry(name, i not in data_set.stuff) for i, name in enumerate(files.names)]
        stuff = len(data_set.stuff)
        things = data_set.count - stuff
        return entries, True, [f"its classes are {data_set.name}'s: {things} things, {stuff} kinds of stuff"]
    known = files.names if files else [f"class {i}" for i in range(shape.classes)]
    return [ClassEntry(name) for name in known], False, []


def _semantic_classes(files: EomtFiles | None, shape: EomtShape, class_file: Path | None) -> _Classes:
    if class_file is not None:
        return read_classes(class_file, shape.classes, "panoptic"), True, []
    return _known_names(files, shape)


def _instance_classes(files: EomtFiles | None, shape: EomtShape, class_file: Path | None) -> _Classes:
    coco = coco_panoptic_entries()
    things = [entry for entry in coco if entry.is_thing]
    if class_file is not None:
        entries, notes = read_classes(class_file, shape.classes, "panoptic"), []
    elif shape.classes == len(things):
        entries, notes = things, ["its 80 classes are COCO's things, in COCO's order"]
    else:
        entries, _, notes = _known_names(files, shape)
    stuff = [entry.name for entry in entries if entry.is_thing is False]
    if stuff or shape.classes == len(coco):
        raise ExportError(
            f"{class_file or 'these weights'}: {stuff[0] if stuff else 'COCO panoptic'} is stuff, which instance "
            "segmentation has none of; export with --mode panoptic, whose file has an instance view too"
        )
    return entries, True, notes


def _known_names(files: EomtFiles | None, shape: EomtShape) -> _Classes:
    names = files.names if files else ()
    if not names or all(plain_name(name).startswith("label ") for name in names):
        return (
            [ClassEntry(f"class {i}") for i in range(shape.classes)],
            True,
            [f"the names of its {shape.classes} classes are not known; name them with --classes FILE.json"],
        )
    return [ClassEntry(name) for name in names], True, []


_CLASSES = {"panoptic": _panoptic_classes, "semantic": _semantic_classes, "instance": _instance_classes}
