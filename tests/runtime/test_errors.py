import pytest

from segopt.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one line"), "one line"),
        (RuntimeError("\n  what went wrong\n    at some.cc:12\n"), "what went wrong"),
        (OSError("first\r\nsecond"), "first"),
        (MemoryError(), "MemoryError"),
        (SystemExit(" \n"), "SystemExit"),
    ],
)
def test_what_another_library_says_is_cut_to_one_line(error, line):
    assert first_line(error) == line
