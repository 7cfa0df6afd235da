import json

import numpy as np

from segopt_bench.scenes import Scene
from segopt_bench.tracking.__main__ import Case, compare, figures_of, main, without_ids
from segopt_bench.tracking.contenders import OURS

TRUTH = "ground truth without ids"


def test_ours_keeps_the_identities_that_were_dropped():
    rows = {case: figures_of(score) for case, score in compare([31], 4, None).items()}
    ours, none = rows[Case(OURS, TRUTH, 1)], rows[Case("no tracking", TRUTH, 1)]
    assert (ours["switches"], ours["VPQ1"], ours["STQ"]) == (0, 1.0, 1.0)
    assert none["STQ"] < 1
    assert {case.stride for case in rows} == {1, 3}


def test_dropped_ids_leave_the_same_regions():
    rendered = Scene(31).render(96, 160)
    plain = without_ids(rendered)
    assert {s.id for s in plain.segments} == set(range(1, len(rendered.segments) + 1))
    for before, after in zip(rendered.segments, plain.segments, strict=True):
        assert before.category_id == after.category_id
        assert np.array_equal(rendered.segment_map == before.id, plain.segment_map == after.id)


def test_the_command_prints_a_table_and_writes_it(tmp_path, capsys):
    assert main(["--seeds", "31", "--frames", "2", "--json", str(tmp_path / "t.json")]) == 0
    printed = capsys.readouterr().out
    assert "every 3rd frame" in printed
    assert OURS in printed
    rows = json.loads((tmp_path / "t.json").read_text())
    assert {row["tracker"] for row in rows} >= {OURS, "no tracking"}
