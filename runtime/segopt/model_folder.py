"""A model folder: one network as several files, of which each machine takes the one that fits it.

It holds ``.onnx`` files of one network in several precisions, and plans that were built from them on several
machines, each with its sidecar. All are of the same weights, canvas and classes. Nothing else may lie in it, and
no links: a plan is code that the GPU runs, and what is in the folder is run by whoever is given it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from segopt.backends.tensorrt.plan import why_not_here
from segopt.device import Device, parse_device
from segopt.driver import Gpu, find_driver, why_no_gpu
from segopt.errors import CardError, EngineError, UsageError
from segopt.files.names import slug
from segopt.model import sidecar
from segopt.model.card import Card
from segopt.model.reading import read_card
from segopt.model.sidecar import FLAVORS, FlavorName, PlanRecord
from segopt.tensorrt.flavor import TRAITS, find_flavor

_PRECISIONS = ("fp32", "fp16", "int8")
_COMMON: Mapping[str, Callable[[Card], object]] = {
    "weights": lambda card: {branch: origin.sha256 for branch, origin in card.weights.items()},
    "networks": lambda card: card.networks,
    "mode": lambda card: card.mode,
    "canvas": lambda card: card.canvas,
    "batch": lambda card: card.batch,
    "classes": lambda card: card.categories,
}
"""What all files of a folder have in common."""


@dataclass(frozen=True)
class Candidate:
    """One file of a model folder."""

    path: Path
    card: Card
    plan: PlanRecord | None
    """None of an ONNX file."""


@dataclass(frozen=True)
class Judged:
    """A candidate, and whether this machine takes it."""

    candidate: Candidate
    fits: bool
    reason: str
    """For it or against it, to follow the file's name and a colon."""


@dataclass(frozen=True)
class Machine:
    """What decides which plan runs: the GPU, and the TensorRTs that are installed."""

    gpu: Gpu | None
    no_gpu: str
    """Why there is none."""
    versions: Mapping[FlavorName, str]
    """Of the flavors that load."""
    problems: Mapping[FlavorName, str]
    """Why the others do not."""


def this_machine(flavors: Iterable[FlavorName] = FLAVORS, device: int = 0) -> Machine:
    """What is here; only these flavors are looked for, since importing one takes its time.

    Args:
        flavors: those that plans are there for.
        device: CUDA's number of the GPU.
    """
    gpus = find_driver().gpus
    versions: dict[FlavorName, str] = {}
    problems: dict[FlavorName, str] = {}
    for name in flavors:
        try:
            versions[name] = find_flavor(name).version
        except EngineError as error:
            problems[name] = str(error)
    if device < len(gpus):
        return Machine(gpus[device], "", versions, problems)
    return Machine(None, f"there is no GPU {device}" if gpus else why_no_gpu(), versions, problems)


def read_folder(folder: Path) -> list[Candidate]:
    """The files of a model folder, by name; hidden files are passed over.

    Raises:
        CardError: it is no folder, is empty, has a link or a file of another kind in it, a plan without its
            sidecar or a sidecar without its plan, or files of different networks.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise CardError(f"{folder}: cannot be read as a model folder ({error.strerror})") from None
    for entry in entries:
        _check_entry(entry)
    candidates = [_candidate(entry) for entry in entries if entry.suffix in (".onnx", ".plan") and entry.is_file()]
    if not candidates:
        raise CardError(
            f"{folder}: has no .onnx file and no .plan in it; export one with --output {folder}/NAME.onnx"
        )
    first = candidates[0]
    for other in candidates[1:]:
        for name, value in _COMMON.items():
            if value(other.card) != value(first.card):
                raise CardError(
                    f"{folder}: {other.path.name} has other {name} than {first.path.name}; a model folder holds "
                    "one network, so move one of them elsewhere"
                )
    return candidates


def _check_entry(entry: Path) -> None:
    if entry.is_symlink():
        raise CardError(f"{entry}: is a link, and a model folder holds plain files alone; copy the file here")
    name = entry.name
    if name.endswith(".plan.json") and not entry.with_name(name.removesuffix(".json")).is_file():
        raise CardError(f"{entry}: is a sidecar without its plan; copy both, or remove it")
    known = name.endswith((".onnx", ".plan", ".plan.json", ".plan.cache"))
    # ONNX Runtime's TensorRT provider keeps its engines there.
    if entry.is_dir():
        known = name.endswith(".onnx.trt")
    if not known:
        raise CardError(f"{entry}: is none of a model's files (.onnx, .plan, .plan.json); move it elsewhere")


def _candidate(path: Path) -> Candidate:
    if path.suffix == ".plan":
        beside = sidecar.read(path)
        return Candidate(path, beside.card, beside.plan)
    return Candidate(path, read_card(path), None)


def default_precision(folder: Path, candidates: Iterable[Candidate]) -> str:
    """The precision that is taken where none is asked for: that of all files, or of the one named as the folder.

    Raises:
        UsageError: there are several, and no ``NAME.onnx`` in the folder ``NAME``.
    """
    candidates = list(candidates)
    found = {candidate.card.precision for candidate in candidates}
    if len(found) == 1:
        return found.pop()
    named = folder.resolve().name + ".onnx"
    for candidate in candidates:
        if candidate.path.name == named:
            return candidate.card.precision
    raise UsageError(
        f"{folder}: has {', '.join(sorted(found))} files; choose with --precision, or name the ONNX file that is "
        f"the default {named}"
    )


def judge(
    candidates: Iterable[Candidate], precision: str, device: Device, machine: Machine | None = None
) -> list[Judged]:
    """Whether each candidate fits, the one to take first.

    Args:
        candidates: of one folder.
        precision: the one to take; another one is never taken in its place.
        device: where to run.
        machine: what is here; None looks.
    """
    candidates = list(candidates)
    if machine is None:
        flavors = {candidate.plan.runtime for candidate in candidates if candidate.plan is not None}
        machine = this_machine(sorted(flavors), device.number)
    judged = [_judge(candidate, precision, device, machine) for candidate in candidates]
    return sorted(judged, key=lambda each: (not each.fits, *_rank(each.candidate, device, machine)))


def _judge(candidate: Candidate, precision: str, device: Device, machine: Machine) -> Judged:
    card, plan = candidate.card, candidate.plan
    if card.precision != precision:
        return Judged(candidate, False, f"is {card.precision}, and {precision} is asked for")
    if plan is None:
        return Judged(candidate, True, f"ONNX file, {card.precision}, made fast for {card.target}")
    title = TRAITS[plan.runtime].title
    if device.kind == "tensorrt" or not device.on_nvidia:
        return Judged(candidate, False, f"is a plan, and --device {device.kind} runs ONNX files")
    if machine.gpu is None:
        return Judged(candidate, False, f"a plan needs an NVIDIA GPU ({machine.no_gpu})")
    if plan.runtime in machine.problems:
        return Judged(candidate, False, machine.problems[plan.runtime])
    against = why_not_here(plan, title, machine.versions[plan.runtime], machine.gpu)
    if against is not None:
        return Judged(candidate, False, against)
    return Judged(candidate, True, f"plan of {title} {plan.version}, {card.precision}, for {machine.gpu.model}")


def _rank(candidate: Candidate, device: Device, machine: Machine) -> tuple[object, ...]:
    plan = candidate.plan
    if plan is None:
        on_gpu = device.on_nvidia and machine.gpu is not None
        return 1, candidate.card.target != ("tensorrt" if on_gpu else "cpu"), candidate.path.name
    same_gpu = machine.gpu is not None and plan.gpu == machine.gpu.model
    return 0, (FLAVORS.index(plan.runtime), not same_gpu), candidate.path.name


def choose(
    folder: Path, device: str = "auto", precision: str | None = None, *, machine: Machine | None = None
) -> Judged:
    """The file of a model folder that this machine takes: a plan that fits it, else the ONNX file.

    Args:
        folder: with the files.
        device: where to run, as a user writes it.
        precision: the one to take; None takes the folder's own.
        machine: what is here; None looks.

    Raises:
        CardError: as :func:`read_folder`.
        EngineError: no file of that precision runs here.
        UsageError: several precisions, none asked for and no default; one that there is none of.
    """
    candidates = read_folder(folder)
    wanted = precision or default_precision(folder, candidates)
    if wanted not in _PRECISIONS:
        raise UsageError(f"--precision {wanted}: is none of {', '.join(_PRECISIONS)}")
    judged = judge(candidates, wanted, parse_device(device), machine)
    if not judged[0].fits:
        reasons = "; ".join(f"{each.candidate.path.name} {each.reason}" for each in judged)
        raise EngineError(f"{folder}: no {wanted} file in it runs here: {reasons}")
    return judged[0]


def plan_name(onnx: Path, flavor: FlavorName, version: str, gpu: Gpu | None) -> str:
    """The name of a plan beside its ONNX file: it says the machine, so that several lie side by side."""
    where = "" if gpu is None else f"-{slug(gpu.model).lower()}"
    return f"{onnx.stem}-{flavor}-{version}{where}.plan"
