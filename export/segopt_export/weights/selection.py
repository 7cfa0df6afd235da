"""Finds a network's weights in a checkpoint, whatever stands before their names.

DataParallel, ``torch.compile``, Lightning, exponential averages and everybody's own wrapper put something before
the names of a network's tensors, and a checkpoint's keys are no more than that either: ``state_dict`` and then
``model.backbone.conv1.weight``. So no list of prefixes is kept. Every name is compared with the network's own from
each of its dots on, and what most of them agree on is the prefix.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segopt.errors import ExportError
from segopt_export.weights.checkpoint import Groups

State = dict[str, Tensor]

_LEAST_SHARE = 0.5
"""Of the names that the best prefix explains: with fewer, another one does not count."""
_LONGEST_NAME = 500
_AVERAGES = ("ema", "teacher", "averaged", "swa", "shadow")
"""Words in the keys of averaged weights: where a checkpoint has others too, those come first."""
_SHOWN = 4


@dataclass(frozen=True)
class Selected:
    """The weights that were taken from a checkpoint."""

    key: str
    """What stood before the names, without its last dot."""
    state: State
    note: str | None = None
    """What a user should know of the choice."""


def select(
    groups: Groups,
    known: Iterable[Container[str]],
    path: Path,
    *,
    key: str | None,
    fits: Callable[[State], bool],
) -> Selected:
    """Find the weights of a network.

    Args:
        groups: the tensors of the file.
        known: names of tensors to look for; the first set that is found decides.
        path: of the file, for messages.
        key: the key, or the beginning of the names, to take; None chooses.
        fits: whether weights have the names and shapes of the network; asked where there are several.

    Returns:
        Those that fit; where none does, those that come nearest.

    Raises:
        ExportError: nothing is under ``key``.
    """
    places: dict[str, set[str]] = {}
    for names in known:
        if places := _places(groups, names):
            break
    if not places:
        # Nothing has a name of any network: the largest group is what the message will be about.
        places = {f"{group}." if group else "": {group} for group in _by_size(groups)}
    if key is not None:
        places = _under(places, key, groups, path)
    states = {prefix: _state(groups, prefix, sources) for prefix, sources in places.items()}
    fitting = [prefix for prefix in states if len(states) == 1 or fits(states[prefix])]
    best = min(fitting or list(states)[:1], key=_is_average)
    others = [prefix for prefix in fitting if prefix != best and not _same(states[prefix], states[best])]
    return Selected(best.rstrip("."), states[best], _note(best, others))


def _places(groups: Groups, names: Container[str]) -> dict[str, set[str]]:
    """Prefixes that lead to a network's names, the best first, and the groups that each of them is found in."""
    votes: Counter[str] = Counter()
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for group, tensors in groups.items():
        for name in tensors:
            full = _full(group, name)
            if len(full) > _LONGEST_NAME:
                continue
            start = 0
            while start >= 0:
                if full[start:] in names:
                    votes[full[:start]] += 1
                    sources[full[:start]].add(group)
                start = full.find(".", start) + 1 or -1
    if not votes:
        return {}
    best = votes.most_common(1)[0][1]
    return {
        prefix: sources[prefix] for prefix, count in votes.most_common() if count >= max(2, _LEAST_SHARE * best)
    }


def _full(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name


def _by_size(groups: Groups) -> list[str]:
    return sorted(groups, key=lambda group: -len(groups[group]))


def _state(groups: Groups, prefix: str, sources: Iterable[str]) -> State:
    """The tensors under a prefix, without it; what stands beside them in other mappings is not theirs."""
    return {
        full.removeprefix(prefix): tensor
        for group in groups
        if group in sources
        for name, tensor in groups[group].items()
        if (full := _full(group, name)).startswith(prefix)
    }


def _under(places: Mapping[str, set[str]], key: str, groups: Groups, path: Path) -> dict[str, set[str]]:
    wanted = f"{key.rstrip('.')}."
    found = {prefix: sources for prefix, sources in places.items() if prefix.startswith(wanted)}
    if not found:
        shown = _listed([prefix.rstrip(".") for prefix in places if prefix] or _by_size(groups))
        raise ExportError(f"{path}: has no weights of this network under {key!r}; it has {shown or 'no keys'}")
    return found


def _is_average(prefix: str) -> bool:
    return any(word in prefix.lower() for word in _AVERAGES)


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape and torch.equal(one[name], other[name]) for name in one
    )


def _note(best: str, others: list[str]) -> str | None:
    if not others:
        return None
    return (
        f"the weights file holds this network {1 + len(others)} times: {_name(best)} was taken, not "
        f"{_listed([_name(prefix) for prefix in others])} (--weights-key KEY takes another)"
    )


def _name(prefix: str) -> str:
    return prefix.rstrip(".") or "what is at its top"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
