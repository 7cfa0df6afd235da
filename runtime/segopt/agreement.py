"""Agreement: do two runs of one network give the same answer, within what rounding explains?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Bounds:
    """How far two sets of outputs may differ and still be the same answer."""

    pixels: float
    """Least share of pixels with equal class."""
    matched: float
    """Least share of detections with a match in the other answer."""
    box_iou: float
    """Least IoU of matched."""
    score: float
    """Largest difference of their scores."""
    lowest_score: float
    """Detections below it need no match."""
    unmatched: int
    """So many may always go without a match, however few detections there are."""
    query_iou: float
    """Least IoU of what two queries own that are the same."""
    logits: float
    """Largest root mean square of the differences of logits, as a share of the logits' own deviation."""


SINGLE = Bounds(
    # Sums in another order move numbers by a few millionths, which flips a pixel or swaps two detections where two
    # classes or scores are as close as that.
    pixels=0.999,
    matched=0.97,
    box_iou=0.98,
    score=1e-2,
    lowest_score=0.0,
    unmatched=0,
    query_iou=0.98,
    logits=1e-3,
)
HALF = Bounds(
    # Half rounds each number to 11 bits, which reorders weak detections, of which suppression then keeps others.
    pixels=0.995,
    matched=0.97,
    box_iou=0.98,
    score=0.05,
    lowest_score=0.3,
    unmatched=1,
    query_iou=0.95,
    logits=0.05,
)
EIGHT_BIT = Bounds(
    # A byte has 256 steps for the range of a whole tensor: outlines and weak detections move.
    pixels=0.95,
    matched=0.8,
    box_iou=0.7,
    score=0.3,
    lowest_score=0.5,
    unmatched=1,
    query_iou=0.7,
    logits=0.5,
)
ANYTHING = Bounds(0.0, 0.0, 0.5, 1.0, 0.5, 0, 0.5, math.inf)
"""For INT8 of random weights, which are far touchier than trained ones, and whose answers mean nothing."""


def bounds_for(precision: str, *, random: bool = False) -> Bounds:
    """What a file of this precision may differ by from another run of it.

    Args:
        precision: a card's ``fp32``, ``fp16`` or ``int8``.
        random: the weights are random ones.
    """
    if precision == "int8" and random:
        return ANYTHING
    return {"fp32": SINGLE, "int8": EIGHT_BIT}.get(precision, HALF)


@dataclass(frozen=True)
class Figure:
    """One figure of the comparison."""

    name: str
    text: str
    good: bool


def compare(expected: Arrays, found: Arrays, bounds: Bounds = SINGLE) -> list[Figure]:
    """Figures for two sets of outputs of the contract, whichever of them there are."""
    figures = []
    if "semantic" in expected:
        figures.append(_semantic(expected["semantic"], found["semantic"], bounds))
    if "logits" in expected:
        figures.append(_logits(expected["logits"], found["logits"], bounds))
    if "segments" in expected:
        figures += compare_queries(expected, found, bounds)
    if "boxes" in expected:
        figures += _instances(expected, found, bounds)
    return figures


def _semantic(expected: NDArray[np.generic], found: NDArray[np.generic], bounds: Bounds) -> Figure:
    share = float((expected == found).mean())
    constant = share == 1 and (expected == expected.flat[0]).all()
    proof = f", all of them class {expected.flat[0]}, which proves nothing" if constant else ""
    return Figure("label map", f"{100 * share:.3f}% of pixels equal{proof}", share >= bounds.pixels)


def _logits(expected: NDArray[np.generic], found: NDArray[np.generic], bounds: Bounds) -> Figure:
    """Logits [B, C, h, w] of both."""
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return Figure("logits", "are not all finite", False)
    wanted = expected.astype(np.float32)
    # Each class has a level of its own; what tells the classes apart is what varies over the pixels.
    deviation = float((wanted - wanted.mean(axis=(0, 2, 3), keepdims=True)).std())
    error = float(np.sqrt(np.square(found.astype(np.float32) - wanted).mean(dtype=np.float64)))
    if deviation == 0:
        close = error <= 1e-3 * max(1.0, float(np.abs(wanted).max()))
        return Figure("logits", "are the same in every pixel, which proves nothing", close)
    share = error / deviation
    return Figure("logits", f"within {share:.1g} of their deviation (root mean square)", share <= bounds.logits)


def not_finite(outputs: Arrays, logits: Sequence[NDArray[np.generic]]) -> list[str]:
    """Names of the outputs with a number that is none."""
    floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    names = [name for name, array in floats.items() if not np.isfinite(array).all()]
    return names + ["logits"] * (not all(np.isfinite(array).all() for array in logits))


def _instances(expected: Arrays, found: Arrays, bounds: Bounds) -> list[Figure]:
    wanted, matched = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    errors = dict.fromkeys(("boxes", "scores", "masks"), 0.0)
    for i in range(len(expected["scores"])):
        sides = _used(expected, i), _used(found, i)
        pairs = np.array(match(*sides, bounds), dtype=np.int64).reshape(-1, 2)
        for k, (side, index) in enumerate(zip(sides, pairs.T, strict=True)):
            strong = side["scores"].astype(np.float64) >= bounds.lowest_score
            wanted[k] += np.count_nonzero(strong)
            matched[k] += np.count_nonzero(strong[index])
        for name in errors:
            ours, theirs = (side[name][index] for side, index in zip(sides, pairs.T, strict=True))
            errors[name] = max(errors[name], _largest_difference(ours, theirs))
    worse = int((wanted - matched).argmax())
    unmatched, total = int(wanted[worse] - matched[worse]), int(wanted[worse])
    above = f" above {bounds.lowest_score:g}" if bounds.lowest_score else ""
    text = f"{total - unmatched} of {total}{above} the same"
    if not total:
        highest = max(float(side["scores"].max(initial=-1)) for side in (expected, found))
        best = f" (the highest score is {highest:.2g})" if highest >= 0 else ""
        text = f"none{above} on either side{best}, which proves nothing"
    good = unmatched <= max(bounds.unmatched, (1 - bounds.matched) * total)
    figures = [Figure("detections", text, good)]
    if matched.any():
        text = (
            f"boxes within {errors['boxes']:.2g} px, scores within {errors['scores']:.1g}, "
            f"masks within {errors['masks']:.1g}"
        )
        figures.append(Figure("differences", text, True))
    if not_finite(expected, ()) or not_finite(found, ()):
        figures.append(Figure("numbers", "not all of them finite", False))
    same = bool((expected["converged"] == found["converged"]).all())
    figures.append(Figure("suppression", "agrees" if same else "converges in one of the two alone", same))
    return figures


def match(ours: Arrays, theirs: Arrays, bounds: Bounds = SINGLE) -> list[tuple[int, int]]:
    """Pairs of detections of the same label, score and box; each is taken once, the best score first."""
    free = np.ones(len(theirs["scores"]), dtype=bool)
    pairs = []
    for a, (box, score, label) in enumerate(zip(ours["boxes"], ours["scores"], ours["labels"], strict=True)):
        alike = (
            free
            & (theirs["labels"] == label)
            & (np.abs(theirs["scores"].astype(np.float64) - score) <= bounds.score)
            & (_iou(box, theirs["boxes"]) >= bounds.box_iou)
        )
        if alike.any():
            b = int(alike.argmax())
            free[b] = False
            pairs.append((a, b))
    return pairs


def _largest_difference(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) if len(a) else 0.0


_OF_QUERIES = ("segments", "scores", "labels")


def compare_queries(expected: Arrays, found: Arrays, bounds: Bounds = SINGLE) -> list[Figure]:
    """Figures for two sets of a query network's outputs: the kept queries, and who owns each pixel.

    Two that tie may change places, and with half precision the weakest may be on one side alone: queries are
    paired by their class and the pixels that they own. Pixels of queries that may go without a pair do not count.
    """
    wanted, missing, worst = 0, 0, 0.0
    whole, rest = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    for i in range(len(expected["segments"])):
        ours, theirs = ({name: side[name][i] for name in _OF_QUERIES} for side in (expected, found))
        codes = ours["segments"].astype(np.int64) * 256 + theirs["segments"]
        shared = np.bincount(codes.ravel(), minlength=1 << 16).reshape(256, 256)
        used = [np.flatnonzero(side["scores"] > 0) for side in (ours, theirs)]
        if not any(map(len, used)):
            # Nothing is kept: a pixel's slot means nothing.
            whole += codes.size
            rest += codes.size
            continue
        pairs = _pair_queries(shared, ours, theirs, used[0], bounds)
        alone = [set(used[0].tolist()) - pairs.keys(), set(used[1].tolist()) - set(pairs.values())]
        wanted += max(map(len, used))
        missing += max(map(len, alone))
        differences = [abs(float(ours["scores"][a]) - float(theirs["scores"][b])) for a, b in pairs.items()]
        worst = max([worst, *differences])
        whole += _equal_of(shared, pairs)
        for axis, slots in enumerate(alone):
            lost = [code for slot in slots for code in (slot, slot + 128)]
            shared[(slice(None),) * axis + (lost,)] = 0
        rest += _equal_of(shared, pairs)
    if not wanted:
        return [Figure("queries", "none kept on either side, which proves nothing", True)]
    may_be_alone = max(bounds.unmatched, int((1 - bounds.matched) * wanted))
    equal, pixels = (rest if missing <= may_be_alone else whole).tolist()
    share = equal / max(pixels, 1)
    text = f"{wanted - missing} of {wanted} the same (IoU {bounds.query_iou:g}), scores within {worst:.1g}"
    good = missing <= may_be_alone and worst <= bounds.score
    return [
        Figure("queries", text, good),
        Figure("segments", f"{100 * share:.3f}% of pixels equal", share >= bounds.pixels),
    ]


def _pair_queries(
    shared: NDArray[np.int64], ours: Arrays, theirs: Arrays, used: NDArray[np.int64], bounds: Bounds
) -> dict[int, int]:
    """Slot to slot of the queries that are the same; those that own no pixel on either side by their place."""
    # What a slot owns, inside of its mask and outside.
    owned = shared.reshape(2, 128, 2, 128).sum(axis=(0, 2))
    union = owned.sum(axis=1)[:, None] + owned.sum(axis=0) - owned
    iou = np.where(union > 0, owned / np.maximum(union, 1), np.eye(128))
    pairs = {}
    for slot in used.tolist():
        other = int(iou[slot].argmax())
        alike = other < len(theirs["scores"]) and theirs["scores"][other] > 0
        if alike and theirs["labels"][other] == ours["labels"][slot] and iou[slot, other] >= bounds.query_iou:
            pairs[slot] = other
    return pairs


def _equal_of(shared: NDArray[np.int64], pairs: Mapping[int, int]) -> tuple[int, int]:
    """How many pixels are of the same query on both sides, inside of its mask or outside; and of how many."""
    same = sum(int(shared[a, b] + shared[a + 128, b + 128]) for a, b in pairs.items())
    return same, int(shared.sum())


def _used(outputs: Arrays, i: int) -> dict[str, NDArray[np.generic]]:
    used = outputs["scores"][i].astype(np.float64) >= 0
    return {name: outputs[name][i][used] for name in ("boxes", "scores", "labels", "masks")}


def _iou(box: NDArray[np.generic], boxes: NDArray[np.generic]) -> NDArray[np.float64]:
    a, b = box.astype(np.float64), boxes.astype(np.float64)
    size = np.clip(np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2]), 0, None)
    shared = size.prod(axis=1)
    union = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-12))
