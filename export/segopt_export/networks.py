"""The networks that can be exported: a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from segopt.errors import ExportError
from segopt_export.small_networks import lraspp_mobilenet_v3_small, maskrcnn_mobilenet_v3_small_fpn

Branch = Literal["semantic", "instance"]


@dataclass(frozen=True)
class Network:
    """A network made of torchvision's classes."""

    name: str
    branch: Branch
    class_layer: str
    """The layer with one output for each class: its weight's first axis tells a checkpoint's classes."""
    auxiliary: str | None = None
    """Prefix of the head that is there for training alone; checkpoints may have it or not."""
    frozen_norm_eps: float | None = None
    """Epsilon of the backbone's batch norms where they were frozen in training, as ``weights="DEFAULT"`` sets it;
    no checkpoint records it."""
    builder: Callable[[int], nn.Module] | None = None
    """Makes the untrained network from a number of classes; None is torchvision's builder of this name."""

    def build(self, classes: int, *, auxiliary: bool = False) -> nn.Module:
        """The untrained network, in eval mode."""
        if self.builder is not None:
            return self.builder(classes).eval()
        options: dict[str, Any] = {"aux_loss": auxiliary} if self.auxiliary else {}
        model: nn.Module = get_model(
            self.name, weights=None, weights_backbone=None, num_classes=classes, **options
        )
        return model.eval()

    @property
    def default_weights(self) -> WeightsEnum | None:
        """torchvision's best weights: their URL, classes and hash; None where it has none."""
        return None if self.builder is not None else get_model_weights(self.name).DEFAULT

    def class_count(self, state: dict[str, Tensor]) -> int | None:
        """How many classes a checkpoint was trained for; None where it has no such layer."""
        weight = state.get(f"{self.class_layer}.weight")
        return None if weight is None or weight.ndim == 0 else int(weight.shape[0])


def _fcn(name: str) -> Network:
    return Network(name, "semantic", class_layer="classifier.4", auxiliary="aux_classifier.")


def _lraspp(name: str, **options: Any) -> Network:
    return Network(name, "semantic", class_layer="classifier.high_classifier", **options)


def _maskrcnn(name: str, **options: Any) -> Network:
    return Network(name, "instance", class_layer="roi_heads.box_predictor.cls_score", **options)


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        _fcn("fcn_resnet50"),
        _fcn("fcn_resnet101"),
        _fcn("deeplabv3_resnet50"),
        _fcn("deeplabv3_resnet101"),
        _fcn("deeplabv3_mobilenet_v3_large"),
        _lraspp("lraspp_mobilenet_v3_large"),
        _maskrcnn("maskrcnn_resnet50_fpn", frozen_norm_eps=0.0),
        _maskrcnn("maskrcnn_resnet50_fpn_v2"),
        _lraspp("lraspp_mobilenet_v3_small", builder=lraspp_mobilenet_v3_small),
        _maskrcnn("maskrcnn_mobilenet_v3_small_fpn", builder=maskrcnn_mobilenet_v3_small_fpn),
    )
}

DEMO_NETWORKS: dict[Branch, str] = {
    "semantic": "lraspp_mobilenet_v3_small",
    "instance": "maskrcnn_mobilenet_v3_small_fpn",
}
"""The networks whose weights are part of the package."""


def find_network(name: str, branch: Branch) -> Network:
    """Look a network up.

    Raises:
        ExportError: there is none of this name, or it is of the other branch.
    """
    names = [network.name for network in NETWORKS.values() if network.branch == branch]
    if name in names:
        return NETWORKS[name]
    if name in NETWORKS:
        raise ExportError(
            f"{name} is for {NETWORKS[name].branch} segmentation; {branch} networks are {', '.join(names)}"
        )
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    raise ExportError(f"no {branch} network is called {name!r}; {hint}")
