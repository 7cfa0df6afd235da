"""A query network's file gives the segments that transformers' own network and post-processing give."""

import numpy as np
import pytest
import torch

import segopt
import segopt_export
from lively_eomt import (
    CANVAS,
    NAMES,
    equal_pixels,
    lively,
    post_process,
    transformers_network,
    write_folder,
)
from segopt.letterbox import letterbox_frames
from segopt_export.weights.random import random_picture

SIDE = CANVAS[0]
SHAPES = [(SIDE, SIDE), (SIDE * 9 // 16, SIDE), (SIDE, SIDE * 3 // 4), (SIDE // 2, SIDE)]
STUFF = [i for i, entry in enumerate(NAMES) if not entry["isthing"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("eomt"))


@pytest.fixture(scope="module")
def exported(folder):
    return export(folder)


def export(folder, name="model", **options):
    return segopt_export.export(
        "panoptic",
        network="eomt",
        weights=folder,
        classes=folder / "classes.json",
        output=folder / f"{name}.onnx",
        **options,
    )


def frames(shape, count, seed=11):
    generator = torch.Generator().manual_seed(seed)
    pictures = [random_picture(shape, generator=generator) for _ in range(count)]
    return [(p.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()[..., ::-1].copy() for p in pictures]


def as_transformers_sees_it(frame, card):
    """The letterboxed frame, black beside it, float32 [1, 3, H, W] normalized."""
    image = letterbox_frames([frame], card).image
    rgb = torch.from_numpy(image).flip(-1).permute(0, 3, 1, 2) / 255
    return (rgb - torch.tensor(card.mean).reshape(3, 1, 1)) / torch.tensor(card.std).reshape(3, 1, 1)


def shares_of_equal_pixels(segmenter, theirs, shapes, stuff, per_shape):
    index_of = {category.id: i for i, category in enumerate(segmenter.card.categories["panoptic"])}
    shares, counts = [], []
    for shape in shapes:
        for frame in frames(shape, per_shape):
            with torch.no_grad():
                outputs = theirs(as_transformers_sees_it(frame, segmenter.card))
            expected, segments = post_process(
                outputs.masks_queries_logits,
                outputs.class_queries_logits,
                shape,
                segmenter.card.canvas,
                stuff,
            )
            shares.append(equal_pixels(segmenter(frame), expected, segments, index_of))
            counts.append(len(segments))
    return shares, counts


def test_segments_are_those_of_transformers(exported):
    shares, counts = shares_of_equal_pixels(
        segopt.load(exported.path), transformers_network(lively()), SHAPES, STUFF, per_shape=6
    )
    assert len(shares) == 24
    assert np.mean(counts) >= 5, "a merge of nothing proves nothing"
    assert np.mean(shares) >= 0.9999
