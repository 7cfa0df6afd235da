"""The sidecar of a plan: what the runtime must know of ``NAME.plan``, in ``NAME.plan.json`` beside it.

It is the card of the ONNX file that the plan was built from, with one more member, ``plan``: what it was built
with and for, and its SHA-256. The plan itself stays a plain TensorRT file that other tools load. The hash guards
against mix-ups, not against malice: a plan is executable content, and whoever can change one can change both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from segopt.errors import CardError, SinkError, what_is_wrong
from segopt.files.atomic import check_new, check_writable, replacing
from segopt.interrupts import held
from segopt.model.card import Card
from segopt.model.fields import flag, fraction, one_of, text, texts
from segopt.version import version_numbers

if TYPE_CHECKING:
    from typing_extensions import Buffer

FlavorName = Literal["tensorrt", "tensorrt-rtx"]
FLAVORS: tuple[FlavorName, ...] = get_args(FlavorName)

_MEMBER = "plan"


@dataclass(frozen=True)
class PlanRecord:
    """How a plan was built. Field by field it is ``plan`` in the sidecar."""

    sha256: str
    """Of the plan's bytes."""
    runtime: FlavorName
    version: str
    """Of the TensorRT that built it, in full: ``10.3.0``."""
    gpu: str
    """The GPU that it was built on, as the driver names it; empty for TensorRT-RTX, which builds for many."""
    compute_capabilities: tuple[str, ...]
    """Those that it was built for: ``8.9``."""
    hardware_compatible: bool
    """It also runs on other GPUs of compute capability 8.0 and later."""
    version_compatible: bool
    """It carries a lean runtime, so that later versions of TensorRT load it."""
    half_share: float
    """Share of the convolutions, deconvolutions and fully connected layers that compute in half, 0 to 1."""
    segopt: str
    """Version of segopt that built it."""
    model: str
    """Name of the ONNX file that it was built from, without its folder."""
    options: tuple[str, ...] = ()
    """Options of ``segopt build`` that shaped it, ``--runtime`` apart: what building it again needs."""

    def runs_on(self, capability: str) -> bool:
        """Whether a GPU of this compute capability (``8.9``) is one that the plan was built for."""
        if self.hardware_compatible:
            return version_numbers(capability) >= (8, 0)
        return capability in self.compute_capabilities

    def rebuild_command(self, plan: Path) -> str:
        """The command line that builds it again, here.

        Args:
            plan: where the plan lies; its ONNX file is expected beside it.
        """
        source = str(plan.with_name(self.model))
        command = ["segopt", "build", source, *self.options, "--output", str(plan), "--overwrite"]
        return shlex.join(command)


@dataclass(frozen=True)
class Sidecar:
    """The card of a plan's model, and the record of the plan."""

    card: Card
    plan: PlanRecord

    def to_json(self) -> str:
        """One JSON object: the card's members, and ``plan``."""
        document = {**self.card.members(), _MEMBER: dataclasses.asdict(self.plan)}
        return json.dumps(document, ensure_ascii=False, indent=1)


def sidecar_path(plan: Path) -> Path:
    """``NAME.plan.json`` of ``NAME.plan``."""
    return plan.with_name(plan.name + ".json")


def sha256_of(data: Buffer) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def check_new_pair(plan: Path) -> None:
    """Find out before a build whether it would replace a plan, or a file with the name of its sidecar.

    Raises:
        SinkError: something has one of the names.
    """
    for path in (plan, sidecar_path(plan)):
        check_new(path, overwrite=False)


def check_ours(plan: Path) -> None:
    """Find out whether a plan that an export builds anew would replace anything but one that was built before.

    Raises:
        SinkError: something has its name or that of its sidecar, and the two are no plan of segopt's.
    """
    for path in (plan, sidecar_path(plan)):
        if os.path.lexists(path):
            try:
                read(plan)
            except CardError:
                raise SinkError(
                    f"{path}: exists, and is no plan that segopt built; give another name with --output, or "
                    "remove it"
                ) from None


def write(path: Path, data: Buffer, sidecar: Sidecar) -> None:
    """Write a plan and its sidecar.

    Both are written to temporary names first, so that a full disk costs nothing that was there before. An older
    sidecar goes away before the plan takes its name and the new one comes after it: a reader meets a pair that
    belongs together, or a plan without a sidecar, and never a plan with another one's sidecar.

    Raises:
        SinkError: unwritable folder, full disk; nothing is left of the two, and older ones are untouched.
    """
    check_writable(path)
    beside = sidecar_path(path)
    # An interrupt waits until both have come.
    with held(), replacing(beside) as temporary_sidecar, replacing(path) as temporary_plan:
        temporary_plan.write_bytes(data)
        temporary_sidecar.write_text(sidecar.to_json(), encoding="utf-8")
        beside.unlink(missing_ok=True)


def read(plan: Path) -> Sidecar:
    """The sidecar of a plan; the plan's bytes are not looked at.

    Raises:
        CardError: the plan or its sidecar is missing, or the sidecar is damaged.
    """
    text = read_text(plan)
    source = str(sidecar_path(plan))
    card = Card.from_json(text, source=source)
    try:
        return Sidecar(card, _record_from(json.loads(text)[_MEMBER]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        what = what_is_wrong(error)
    raise CardError(
        f"{source}: its record of the plan is damaged ({what}); build the plan again from its ONNX file"
    )


def read_plan(plan: Path) -> tuple[Sidecar, bytes]:
    """The sidecar and the bytes of a plan that belong together.

    Raises:
        CardError: as :func:`read`, or the plan is not the one that the sidecar was written for.
    """
    sidecar = read(plan)
    try:
        data = plan.read_bytes()
    except OSError as error:
        raise CardError(f"{plan}: cannot be read ({os.strerror(error.errno or 0)})") from None
    if sha256_of(data) != sidecar.plan.sha256:
        raise CardError(
            f"{plan}: is not the plan that {sidecar_path(plan).name} was written for (its SHA-256 differs); "
            f"copy both again, or build it again: {sidecar.plan.rebuild_command(plan)}"
        )
    return sidecar, data


def read_text(plan: Path) -> str:
    """The text of a plan's sidecar.

    Raises:
        CardError: the plan or its sidecar is missing, or the sidecar cannot be read.
    """
    if not _is_file(plan):
        raise CardError(f"{plan}: no such file; build it from its ONNX file with `segopt build`")
    try:
        return sidecar_path(plan).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise CardError(
            f"{plan}: its sidecar {sidecar_path(plan).name} is missing or unreadable; keep both together, "
            "or build the plan again from its ONNX file"
        ) from None


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def _record_from(data: Mapping[str, Any]) -> PlanRecord:
    """Build a record from JSON, believing nothing: the file may be damaged or made by others."""
    return PlanRecord(
        sha256=text(data["sha256"], "sha256"),
        runtime=one_of(FLAVORS, data["runtime"], "runtime"),
        version=text(data["version"], "version"),
        gpu=text(data["gpu"], "gpu"),
        compute_capabilities=texts(data["compute_capabilities"], "compute_capabilities"),
        hardware_compatible=flag(data["hardware_compatible"], "hardware_compatible"),
        version_compatible=flag(data["version_compatible"], "version_compatible"),
        half_share=fraction(data["half_share"], "half_share"),
        segopt=text(data["segopt"], "segopt"),
        model=Path(text(data["model"], "model")).name,
        options=texts(data["options"], "options"),
    )
