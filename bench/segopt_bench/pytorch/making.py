"""The eager side of a card: whichever of the two ways of becoming segments it has."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from segopt.model.card import Card
from segopt.stages import Stages
from segopt.thresholds import Thresholds
from segopt_bench.pytorch.eager import EagerSegmenter
from segopt_bench.pytorch.eager_queries import EagerQueries
from segopt_bench.pytorch.eager_query_views import EagerQueryClasses, EagerQueryObjects
from segopt_export.networks.eomt import EoMT


def eager_segmenter(
    card: Card,
    thresholds: Thresholds,
    networks: Mapping[str, nn.Module],
    *,
    device: str = "cpu",
    half: bool = False,
    compiled: bool = False,
) -> Stages:
    """The networks of a card, run eagerly; arguments as of :class:`segopt_bench.pytorch.eager.EagerSegmenter`."""
    network = next(iter(networks.values()))
    if isinstance(network, EoMT):
        if card.mode == "semantic":
            return EagerQueryClasses(card, network, device=device, half=half, compiled=compiled)
        if card.mode == "instance":
            return EagerQueryObjects(card, thresholds, network, device=device, half=half, compiled=compiled)
        return EagerQueries(card, network, device=device, half=half, compiled=compiled)
    return EagerSegmenter(card, thresholds, networks, device=device, half=half, compiled=compiled)
