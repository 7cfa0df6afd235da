"""The merger's benchmark: everybody merges the same, and says the same."""

import json

import numpy as np
import pytest
import torch

from segopt.merge import merge_panoptic
from segopt_bench.merging import mergers
from segopt_bench.merging.__main__ import main, time_case
from segopt_bench.merging.cases import LONGEST, SHORTEST, make_case
from segopt_bench.pytorch.planes import merge_planes, paste_planes


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("seed", range(3))
def test_planes_and_crops_merge_alike(count, seed):
    case = make_case(count, (240, 320), seed=seed)
    segment_map, segments = merge_panoptic(
        case.boxes, case.scores, case.labels, case.masks, case.semantic, case.stuff_classes, stuff_area=200
    )
    masks, boxes, scores, labels, semantic = map(
        torch.from_numpy, (case.masks, case.boxes, case.scores, case.labels, case.semantic)
    )
    planes = paste_planes(masks, boxes, case.size)
    wanted_map, wanted = merge_planes(planes, scores, labels, semantic, case.stuff_classes, stuff_area=200)
    assert [(s.id, s.category_id, s.is_thing) for s in segments] == [
        (s.id, s.category_id, s.is_thing) for s in wanted
    ]
    # A probability of 0.5 to the last bit may fall on either side.
    assert np.count_nonzero(segment_map != wanted_map) <= 2
    assert len(segments) > min(count, 5)


def test_indices_of_one_category_are_one_segment():
    semantic = torch.tensor([[1, 2, 3, 0]], dtype=torch.uint8)
    nothing = torch.zeros(0)
    planes = torch.zeros((0, 1, 4), dtype=torch.bool)
    segment_map, segments = merge_planes(planes, nothing, nothing, semantic, {1: 50, 3: 50, 2: 60}, stuff_area=1)
    assert segment_map.tolist() == [[1, 2, 1, 0]]
    assert [(s.category_id, s.area) for s in segments] == [(50, 2), (60, 1)]


def test_boxes_have_the_sides_that_are_promised_and_lie_inside():
    case = make_case(200, (720, 1280))
    sides = case.boxes[:, 2:] - case.boxes[:, :2]
    assert sides.min() >= SHORTEST - 0.01
    assert sides.max() <= LONGEST + 0.01
    assert (case.boxes >= 0).all()
    assert (case.boxes <= [1280, 720, 1280, 720]).all()
    assert len(np.unique(case.semantic)) > 5


def test_a_case_too_large_for_the_memory_is_left_to_those_who_make_no_planes():
    timed = time_case(make_case(3, (64, 64)), rounds=1, memory_gib=1e-6)
    assert set(timed["milliseconds"]) == {mergers.OURS, mergers.WRITE}
    assert "torchvision's paste" in timed["left_out"]


def test_the_command_writes_every_round(tmp_path, capsys):
    file = tmp_path / "merging.json"
    assert main(["--sizes", "128x160", "--counts", "0,6", "--rounds", "2", "--json", str(file)]) == 0
    nothing, six = json.loads(file.read_text())["cases"]
    assert "torchvision's paste" not in nothing["milliseconds"]
    for kind in ("milliseconds", "first_milliseconds"):
        assert all(len(times) == 2 and min(times) > 0 for times in six[kind].values())
    assert all(pixels <= 2 for pixels in six["different_pixels"].values())
    out = capsys.readouterr().out
    assert "6 instances on 160x128" in out
    assert "maps are equal" in out


@pytest.mark.parametrize(
    "arguments", [["--sizes", "big"], ["--sizes", "9x9"], ["--counts", "a"], ["--rounds", "0"]]
)
def test_bad_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "give " in capsys.readouterr().err
