"""What ``segopt doctor`` says of one thing, and the words that all packages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Facts = dict[str, Any]
"""What a probe saw; ``absent`` where the package is not installed, ``broken`` (why) where it does not work."""
Status = Literal["ok", "missing", "warning"]

PROBE_SECONDS = 15.0
TIMED_OUT = f"no answer within {PROBE_SECONDS:.0f} s"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    status: Status
    """``warning``: it is there, and broken, too old or of less use than it could be."""
    found: str
    """Versions and features; for a missing thing, empty or why it cannot be used."""
    fix: str = ""
    """What it would take; empty where all is well."""

    def but(self, trouble: str, fix: str) -> Finding:
        """The same thing with something against it."""
        return Finding(self.name, "warning", f"{self.found}; {trouble}", fix)


def package(name: str, facts: Facts, fix: str, describe: Callable[[Facts], str]) -> Finding:
    """A package that was probed.

    Args:
        name: for the table.
        facts: of its probe.
        fix: how to install it.
        describe: its version and features, where the probe worked.
    """
    if "absent" in facts:
        return Finding(name, "missing", "", fix)
    if "broken" in facts:
        fix = f"reinstall: {fix}"
        if facts["broken"] == TIMED_OUT:
            fix = f"run this again (a cold disk is slow); if it stays, {fix}"
        return Finding(name, "warning", f"installed, but broken: {facts['broken']}", fix)
    return Finding(name, "ok", describe(facts))
