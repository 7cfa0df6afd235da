"""Figures of video, against slow references written from their definitions."""

import json
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest

from segopt.pipeline.saving import run
from segopt_bench.evaluation import evaluate_engine, open_data
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.panoptic_quality import PanopticQuality, SegmentLabel, SegmentMap
from segopt_bench.evaluation.video_quality import WINDOWS, VideoQuality
from segopt_bench.scenes import write_clip

CLASSES = tuple(TruthClass(i, f"class {i}", is_thing=i < 4) for i in (1, 2, 3, 7, 9))
IDS = [entry.id for entry in CLASSES]
FRAMES = 14


def clip(seed, *, shaken):
    """Rectangles that wander, void and a crowd among them; ids of what is shaken change now and then."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 14, (7, 2)).astype(float)
    ways, sizes = rng.uniform(-1, 1, (7, 2)), rng.integers(5, 12, (7, 2))
    labels = [(100 + i, int(rng.choice(IDS)), i == 6) for i in range(7)]
    noise = np.random.default_rng(seed + 1000)
    frames = []
    for t in range(FRAMES):
        ids, present = np.zeros((24, 26), np.int32), {}
        for i, (identity, category, crowd) in enumerate(labels):
            if shaken:
                identity += 50 * int(noise.random() < 0.15)
                category = int(noise.choice(IDS)) if noise.random() < 0.1 else category
                crowd = False
            y, x = np.clip(places[i] + t * ways[i] + shaken * noise.integers(-1, 2, 2), 0, 20).astype(int)
            ids[y : y + sizes[i][0], x : x + sizes[i][1]] = identity
            present[identity] = SegmentLabel(identity, category, crowd)
        frames.append(SegmentMap(ids, [label for k, label in present.items() if (ids == k).any()]))
    return frames


def slow_stq(videos):
    pixels, aqs = defaultdict(lambda: [0, 0, 0]), []
    is_thing = {entry.id: entry.is_thing for entry in CLASSES}
    for truth, found in videos:
        tubes = [defaultdict(set), defaultdict(set)]
        for t, (a, b) in enumerate(zip(truth, found, strict=True)):
            counted = a.ids > 0
            for label in a.segments:
                if label.is_crowd:
                    counted &= a.ids != label.id
            classes = [np.zeros(a.ids.shape, int), np.zeros(a.ids.shape, int)]
            for segments, plane, tube, ids in zip(
                (a.segments, b.segments), classes, tubes, (a.ids, b.ids), strict=True
            ):
                for label in segments:
                    own = (ids == label.id) & counted
                    plane[own] = label.category_id
                    if is_thing[label.category_id] and own.any():
                        tube[label.category_id, label.id] |= {(t, *p) for p in np.argwhere(own).tolist()}
            for c in IDS:
                sums = pixels[c]
                sums[0] += np.count_nonzero(classes[0] == c)
                sums[1] += np.count_nonzero(classes[1] == c)
                sums[2] += np.count_nonzero((classes[0] == c) & (classes[1] == c))
        for own in tubes[0].values():
            shared = [(len(own & other), len(own | other)) for other in tubes[1].values()]
            aqs.append(sum(both * both / union for both, union in shared if both) / len(own))
    ious = [both / (a + b - both) for a, b, both in pixels.values() if a + b]
    return np.mean(aqs), np.mean(ious)


@pytest.mark.parametrize("seed", [0, 1])
def test_figures_are_those_of_the_definitions(seed):
    videos = [(clip(s, shaken=False), clip(s, shaken=True)) for s in (seed, seed + 10)]
    quality = VideoQuality(CLASSES)
    frames, windows = PanopticQuality(CLASSES), {k: PanopticQuality(CLASSES) for k in WINDOWS}
    for truth, found in videos:
        quality.begin()
        for a, b in zip(truth, found, strict=True):
            quality.add(a, b)
            frames.add(a, b)
        for k in WINDOWS:
            for first in range(FRAMES - k + 1):
                windows[k].add(tall(truth[first : first + k]), tall(found[first : first + k]))
    figures = quality.figures()
    aq, sq = slow_stq(videos)
    assert figures["AQ"] == pytest.approx(aq)
    assert figures["SQ"] == pytest.approx(sq)
    assert figures["STQ"] == pytest.approx((aq * sq) ** 0.5)
    assert figures["VPQ1"] == frames.mean_of(IDS)["PQ"]
    for k in WINDOWS:
        assert figures[f"VPQ{k}"] == pytest.approx(windows[k].mean_of(IDS)["PQ"])
    assert quality.switches > 0


def tall(frames):
    """Frames one above the other, as one picture whose segments are tubes: a class and an id."""
    tubes = {}
    maps = []
    for frame in frames:
        out = np.zeros_like(frame.ids)
        for label in frame.segments:
            number = tubes.setdefault(label, len(tubes) + 1)
            out[frame.ids == label.id] = number
        maps.append(out)
    labels = [SegmentLabel(number, label.category_id, label.is_crowd) for label, number in tubes.items()]
    return SegmentMap(np.concatenate(maps), labels)


def test_perfect_is_one_and_one_swap_is_two_switches():
    truth = [
        SegmentMap(np.repeat([[5, 6]], 4, 0).astype(np.int32), [SegmentLabel(5, 1), SegmentLabel(6, 1)])
        for _ in range(12)
    ]
    quality = VideoQuality(CLASSES)
    for frame in truth:
        quality.add(frame, frame)
    figures = {name: value for name, value in quality.figures().items() if name not in ("HOTA", "IDF1")}
    assert set(figures.values()) == {1.0}
    assert quality.switches == 0
    swapped = SegmentMap(truth[0].ids[:, ::-1], truth[0].segments)
    quality.add(truth[0], swapped)
    assert quality.switches == 2


def test_hota_and_idf1_are_trackevals():
    pytest.importorskip("trackeval")
    quality = VideoQuality(CLASSES)
    ids = np.repeat([[5, 6]], 4, 0).astype(np.int32)
    labels = [SegmentLabel(5, 1), SegmentLabel(6, 1)]
    other = [SegmentLabel(7, 1), SegmentLabel(6, 1)]
    for t in range(4):
        quality.add(
            SegmentMap(ids, labels),
            SegmentMap(np.where(ids == 5, 5 if t < 2 else 7, 6), labels if t < 2 else other),
        )
    figures = quality.figures()
    # One of two objects has one identity, the other one two of half its length each.
    assert figures["IDF1"] == pytest.approx(6 / 8)
    assert figures["HOTA"] == pytest.approx((0.5 * (1 + 0.5)) ** 0.5, abs=1e-6)


def test_a_sequence_is_followed_and_its_figures_stand_beside_pq(tmp_path):
    import tiny

    clip_folder = tmp_path / "street"
    write_clip(clip_folder, 31, (64, 96), frames=3, rate=Fraction(5))
    images = json.loads((clip_folder / "panoptic.json").read_text())["images"]
    assert [(image["video_id"], image["time"]) for image in images] == [(1, 0.0), (1, 0.2), (1, 0.4)]
    engine = tiny.panoptic_engine(tmp_path / "e.onnx")
    import segopt

    with segopt.load(engine) as segmenter:
        evaluation = evaluate_engine(segmenter, open_data(clip_folder), modes=["panoptic"])
    measures = {scores.measure: scores for scores in evaluation.scores}
    assert set(measures) == {"panoptic", "video"}
    assert measures["video"].totals["all"]["VPQ1"] == measures["panoptic"].totals["all"]["PQ"]
    assert "id switches" in evaluation.to_json()["scores"]["video"]["counts"]


def test_pq_is_the_same_with_and_without_track(tmp_path, segopt_cli):
    import tiny

    engine = tiny.panoptic_engine(tmp_path / "e.onnx")
    write_clip(tmp_path / "street", 31, (64, 96), frames=4)
    lines = {}
    for track in (False, True):
        out = tmp_path / f"o{track}"
        run(engine, tmp_path / "street" / "video.mp4", save="panoptic", output=out, track=track)
        status, printed, _ = segopt_cli("eval", "--predictions", out, "--data", tmp_path / "street")
        assert status == 0
        lines[track] = printed.split("video:")
    assert lines[True][0] == lines[False][0]
    assert "VPQ10" in lines[True][1]
    assert "id switches: 0" in lines[True][1]
