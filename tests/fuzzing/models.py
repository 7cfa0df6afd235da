"""Model files: ONNX, the card in it, the sidecar of a plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import cv2
import onnx

import clips
import tiny
from fuzzing.attempts import FaultError, Outcome, command
from fuzzing.mutators import damaged, damaged_json
from segopt.model import sidecar
from segopt.model.card import METADATA_KEY, Card
from segopt.model.reading import read_card
from segopt.model.sidecar import PlanRecord, Sidecar

Attempt = Callable[[Random, Path], Outcome]


def onnx_files(good: Path) -> Attempt:
    """Damaged bytes of engines of each mode; and a whole one, should it still be whole, is run."""
    picture = _picture(good)
    engines = [make(good / f"{i}.onnx").read_bytes() for i, make in enumerate(_ENGINES)]

    def attempt(chance: Random, case: Path) -> Outcome:
        path = case / "in" / "model.onnx"
        path.write_bytes(damaged(chance.choice(engines), engines, chance))
        return _info_and_run(case, path, picture)

    return attempt


def cards(good: Path) -> Attempt:
    """Good networks whose cards were changed."""
    picture = _picture(good)
    models = [onnx.load(make(good / f"{i}.onnx")) for i, make in enumerate(_ENGINES)]

    def attempt(chance: Random, case: Path) -> Outcome:
        path = case / "in" / "model.onnx"
        model = chance.choice(models)
        card = json.loads(Card.from_json(_card_text(model), source="good").to_json())
        changed = damaged_json(card, chance)
        _save_with_card(model, changed, path)
        return _info_and_run(case, path, picture)

    return attempt


def sidecars(good: Path) -> Attempt:
    """Sidecars that were changed, beside plans that are no plans."""
    picture = _picture(good)
    plan = b"no plan that any TensorRT made"
    texts = []
    for i, make in enumerate(_ENGINES):
        record = PlanRecord(
            sha256=sidecar.sha256_of(plan),
            runtime=("tensorrt", "tensorrt-rtx")[i % 2],
            version="10.3.0",
            gpu="Orin",
            compute_capabilities=("8.7", "8.9"),
            hardware_compatible=False,
            version_compatible=True,
            half_share=0.9876,
            segopt="0.1.0",
            model="street.onnx",
            options=("--workspace", "512MiB"),
        )
        texts.append(Sidecar(read_card(make(good / f"{i}.onnx")), record).to_json())

    def attempt(chance: Random, case: Path) -> Outcome:
        path = case / "in" / "model.plan"
        path.write_bytes(plan)
        changed = damaged_json(json.loads(chance.choice(texts)), chance)
        sidecar.sidecar_path(path).write_bytes(changed)
        return _info_and_run(case, path, picture)

    return attempt


_ENGINES = (tiny.semantic_engine, tiny.instance_engine, tiny.panoptic_engine)


def _picture(good: Path) -> Path:
    path = good / "picture.png"
    cv2.imwrite(str(path), clips.frame(7))
    return path


def _card_text(model: onnx.ModelProto) -> str:
    return str(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))


def _save_with_card(model: onnx.ModelProto, card: bytes, path: Path) -> None:
    """By hand, since protobuf's own library takes no text that is not UTF-8."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    entry = b"".join(_field(number, value) for number, value in ((1, METADATA_KEY.encode()), (2, card)))
    path.write_bytes(bare.SerializeToString() + _field(14, entry))


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _info_and_run(case: Path, path: Path, picture: Path) -> Outcome:
    name = path.name
    outcomes = [command(case, name, "info", f"in/{name}"), command(case, name, "info", f"in/{name}", "--json")]
    if outcomes[0] != outcomes[1]:
        raise FaultError(f"info {outcomes[0]}, info --json {outcomes[1]}")
    if outcomes[0] == "right":
        card = read_card(path)
        if Card.from_json(card.to_json(), source="again") != card:
            raise FaultError("the card is another one when it is written and read again")
    ran = command(case, name, "run", "--engine", f"in/{name}", picture, "--output", "out/run")
    if outcomes[0] == "refused" and ran == "right":
        raise FaultError("info refuses it, and run does not")
    # No machine takes such a plan, so what is right of a sidecar is what is told of it.
    return outcomes[0] if path.suffix == ".plan" else ran
