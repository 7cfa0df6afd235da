"""Trained networks into one static module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from segopt.errors import ExportError
from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD, MAX_SLOTS
from segopt_export.classes import label_ids, query_categories
from segopt_export.networks.eomt import EoMT
from segopt_export.networks.setting_values import RGB, mean, std, to_json
from segopt_export.networks.settings import is_detector
from segopt_export.networks.table import Branch
from segopt_export.static.graph import GraphBranch, Normalize, Renormalized, SegmentationGraph
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.static.maskrcnn import StaticMaskRCNN
from segopt_export.static.panoptic_fpn import StaticPanopticFPN
from segopt_export.static.queries import StaticQueries
from segopt_export.static.query_instances import StaticQueryInstances
from segopt_export.static.query_semantic import StaticQuerySemantic
from segopt_export.static.semantic import StaticSemantic
from segopt_export.weights.loading import Trained

QUERY_SCORE = 0.8
USUAL_SLOTS = 100
"""Of query networks: COCO's pictures have a dozen segments."""

Normalization = tuple[RGB, RGB]
"""Mean and standard deviation of pixels scaled to 0..1, RGB."""


def build_graph(
    trained: Mapping[Branch, Trained], canvas: tuple[int, int], limits: DetectionLimits, target: Target
) -> SegmentationGraph:
    """The static module of one or two networks behind one ``image``."""
    makers: dict[Branch, Callable[..., GraphBranch]] = {
        "semantic": lambda model, label_ids: StaticSemantic(model),  # noqa: ARG005
        "instance": partial(StaticMaskRCNN, canvas=canvas, limits=limits, target=target),
        "panoptic": partial(StaticPanopticFPN, canvas=canvas, limits=limits, target=target),
    }
    shared = shared_normalization(trained)
    branches: list[GraphBranch] = []
    for branch, network in trained.items():
        if isinstance(network.model, EoMT):
            branches.append(_QUERY_BRANCHES[branch](network, network.model, canvas, limits))
            continue
        made = makers[branch](network.model, label_ids=label_ids(network.classes))
        own = normalization_of(network)
        branches.append(made if own == shared else Renormalized(made, Normalize(*shared), Normalize(*own)))
    return SegmentationGraph(Normalize(*shared), branches).eval()


def _queries(network: Trained, model: EoMT, canvas: tuple[int, int], limits: DetectionLimits) -> StaticQueries:
    return StaticQueries(
        model,
        canvas,
        slots=query_slots(model, limits),
        label_ids=[category.id for category in query_categories(network.classes)],
        query_score=network.network.settings.get("query_score", QUERY_SCORE),
        map_scale=limits.map_scale,
    )


def _query_semantic(_: Trained, model: EoMT, canvas: tuple[int, int], _limits: DetectionLimits) -> GraphBranch:
    return StaticQuerySemantic(model, canvas, windowed=model.shape.windowed)


def _query_instances(
    network: Trained, model: EoMT, canvas: tuple[int, int], limits: DetectionLimits
) -> GraphBranch:
    mean, std = normalization_of(network)
    return StaticQueryInstances(
        model,
        canvas,
        slots=query_slots(model, limits),
        label_ids=[category.id for category in query_categories(network.classes)],
        padding=[-m / s for m, s in zip(mean, std, strict=True)],
    )


_QUERY_BRANCHES: dict[Branch, Callable[..., GraphBranch]] = {
    "panoptic": _queries,
    "semantic": _query_semantic,
    "instance": _query_instances,
}


def query_slots(model: EoMT, limits: DetectionLimits) -> int:
    """How many queries of a picture are kept at most."""
    return min(limits.max_detections or USUAL_SLOTS, MAX_SLOTS, model.shape.queries)


def shared_normalization(trained: Mapping[Branch, Trained]) -> Normalization:
    """That of the graph's one picture, with whose mean it is padded: the detector's, where there is one."""
    return normalization_of(trained.get("instance") or next(iter(trained.values())))


def normalization_of(network: Trained) -> Normalization:
    """The mean and the standard deviation that a network's pictures are normalized with.

    Raises:
        ExportError: the network's own are no three numbers of pixels from 0 to 1.
    """
    said = network.network.settings
    own = {"image_mean": said.get("image_mean", IMAGENET_MEAN), "image_std": said.get("image_std", IMAGENET_STD)}
    if is_detector(network.model):
        own = {name: getattr(network.model.transform, name) for name in own}
    values = {name: to_json(value) for name, value in own.items()}
    for name, parse in (("image_mean", mean), ("image_std", std)):
        try:
            values[name] = parse(values[name])
        except ValueError as error:
            raise ExportError(f"{network.network.name}: its {name} is {values[name]}, and {error}") from None
    return values["image_mean"], values["image_std"]
