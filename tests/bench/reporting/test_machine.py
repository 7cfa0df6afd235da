"""What a report says of the machine and of its troubles."""

import dataclasses

from segopt_bench.reporting.machine import (
    UNKNOWN,
    Moment,
    conditions,
    describe_machine,
    stolen,
    this_moment,
    warnings,
)

SILENT = Moment(None, None, None, None, None, None, None, None)
CALM = Moment(0.1, (2000.0, 2100.0), "performance", 7, 3, 60.0, (1000, 10), "1410 MHz, 50, none")


def test_a_silent_machine_is_told_as_such_and_warns_of_nothing():
    facts = conditions(SILENT, SILENT)
    assert all(fact == UNKNOWN for name, fact in facts.items() if name != "load average")
    assert warnings(SILENT, SILENT, 2) == []


def test_a_calm_machine_warns_of_nothing():
    after = dataclasses.replace(CALM, ticks=(2000, 15), load=2.0)
    assert warnings(CALM, after, 2) == []
    facts = conditions(CALM, after)
    assert facts["CPU clocks"] == "2000 to 2100 MHz"
    assert facts["CPU throttling"] == "0 times for heat"
    assert facts["CPU time stolen"] == "0.5%"
    assert UNKNOWN not in facts.values()


def test_heat_is_said_plainly():
    (warning,) = warnings(CALM, dataclasses.replace(CALM, throttled=12), 2)
    assert warning.startswith("the CPU throttled for heat 5 times")


def test_a_used_up_share_of_a_container_is_said_plainly():
    (warning,) = warnings(CALM, dataclasses.replace(CALM, group_throttled=4), 2)
    assert warning.startswith("the CPU share of this container was used up 1 times")


def test_a_busy_machine_is_said_plainly():
    busy = dataclasses.replace(CALM, load=1.5)
    (warning,) = warnings(busy, busy, 2)
    assert "busy before anything was measured (load 1.50 on 2 cores)" in warning
    assert warnings(busy, busy, 16) == []


def test_stolen_time_is_said_plainly():
    robbed = dataclasses.replace(CALM, ticks=(2000, 110))
    assert stolen(CALM, robbed) == 0.1
    (warning,) = warnings(CALM, robbed, 2)
    assert "gave 10% of the CPU time to others" in warning


def test_fewer_threads_for_pytorch_are_no_comparison():
    (warning,) = warnings(CALM, CALM, 2, threads=1)
    assert "PyTorch used 1 of 2 cores" in warning
    assert warnings(CALM, CALM, 2, threads=2) == []


def test_this_machine_can_be_looked_at():
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.versions["Python"].startswith("3.")
    before, after = this_moment(), this_moment()
    assert all(isinstance(fact, str) and fact for fact in conditions(before, after).values())
