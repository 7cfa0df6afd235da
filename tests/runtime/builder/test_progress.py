"""A build's phases on the screen."""

import io

from rich.console import Console

from segopt.builder.progress import PhaseBars


def bars(**options):
    screen = io.StringIO()
    return PhaseBars(Console(file=screen, width=100, **options)), screen


def test_open_phases_are_bars_and_inner_ones_are_indented():
    display, screen = bars(force_terminal=True)
    with display:
        display.start("Building engine", None, 6)
        display.start("Timing tactics", "Building engine", 3)
        for _ in range(2):
            display.step("Timing tactics")
    shown = screen.getvalue()
    assert "Building engine" in shown
    assert "  Timing tactics" in shown
    assert "2/3" in shown


def test_a_phase_that_ends_leaves_and_may_come_again():
    display, screen = bars(force_terminal=True)
    with display:
        for _ in range(2):
            display.start("Timing tactics", None, 3)
            display.finish("Timing tactics")
        display.start("Saving", None, 1)
        screen.truncate(0)
    shown = screen.getvalue()
    assert "Saving" in shown
    assert "Timing tactics" not in shown


def test_news_of_a_phase_that_never_began_is_no_fault():
    display, _ = bars(force_terminal=True)
    with display:
        display.step("nobody")
        display.finish("nobody")
        display.start("child", "nobody", 1)


def test_a_file_gets_no_bars():
    display, screen = bars()
    with display:
        display.start("Building engine", None, 6)
        display.step("Building engine")
    assert screen.getvalue() == ""
