import pytest

from segopt.errors import first_line, what_is_wrong


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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("canvas"), "it has no 'canvas'"),
        (ValueError("not a\n  number"), "not a number"),
        (TypeError("x" * 1000), "x" * 200),
    ],
)
def test_what_is_wrong_with_data_is_said_in_one_line(error, words):
    assert what_is_wrong(error) == words
