"""The networks that can be exported: a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from segopt.errors import ExportError
from segopt_export.networks.detectron2_zoo import ZOO, ZooFile
from segopt_export.networks.eomt import EoMT, EomtShape
from segopt_export.networks.families import DETECTRON2, TORCHVISION
from segopt_export.networks.maskrcnn_resnet import maskrcnn_resnet_fpn
from segopt_export.networks.mobilenet import fcn_mobilenet_v3_small_fpn, maskrcnn_mobilenet_v3_small_fpn
from segopt_export.networks.panoptic_fpn import panoptic_fpn_mobilenet_v3_small, panoptic_fpn_resnet
from segopt_export.networks.settings import Settings, apply_settings

Branch = Literal["semantic", "instance", "panoptic"]
"""What a network answers; ``panoptic`` are both from one backbone."""


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
    builder: Callable[..., nn.Module] | None = None
    """Makes the untrained network from its numbers of classes; None is torchvision's builder of this name."""
    semantic_class_layer: str | None = None
    """Panoptic networks: likewise of the semantic head."""
    detectron2: Callable[..., nn.Module] | None = None
    """Makes the network that Detectron2's checkpoints of this architecture were trained in."""
    mmdetection: Callable[..., nn.Module] | None = None
    """Likewise mmdetection's; takes ``rules``, which differ from style to style."""
    settings: Settings = field(default_factory=dict, hash=False)
    """What a built network is given before its weights, and they do not hold."""
    module: nn.Module | None = None
    """A network of the user's own, as it came: there is nothing to build."""
    queries: EomtShape | None = None
    """Query networks: their usual sizes, on COCO's panoptic classes; a weights folder says its own."""

    def build(self, *classes: int, auxiliary: bool = False) -> nn.Module:
        """The untrained network, in eval mode.

        Args:
            classes: how many, background included; a panoptic network also takes those of its semantic head.
            auxiliary: with the head that is there for training alone.
        """
        if self.builder is not None:
            return self._with_settings(self.builder(*classes)).eval()
        options: dict[str, Any] = {"aux_loss": auxiliary} if self.auxiliary else {}
        model: nn.Module = get_model(
            self.name, weights=None, weights_backbone=None, num_classes=classes[0], **options
        )
        return self._with_settings(model).eval()

    def _with_settings(self, model: nn.Module) -> nn.Module:
        try:
            apply_settings(model, self.settings, has_weights=False)
        except ValueError as error:
            raise ExportError(f"{self.name} cannot take the settings: {error}") from None
        return model

    def with_settings(self, settings: Settings) -> Network:
        """The same with these settings."""
        if not settings:
            return self
        made = replace(self, settings=settings)
        if (detectron2 := self.detectron2) is not None:
            made = replace(made, detectron2=lambda *classes: made._with_settings(detectron2(*classes)))
        return made

    @property
    def default_weights(self) -> WeightsEnum | None:
        """torchvision's best weights: their URL, classes and hash; None where it has none."""
        return (
            None if self.builder is not None or self.module is not None else get_model_weights(self.name).DEFAULT
        )

    @property
    def zoo_file(self) -> ZooFile | None:
        """Detectron2's published weights, where they are this network's default."""
        return ZOO.get(self.name)

    @property
    def default_name(self) -> str | None:
        """What a card calls the default weights; None where there are none but the demo's."""
        weights = self.zoo_file or self.default_weights
        return None if weights is None else str(weights.name)

    def class_counts(self, state: dict[str, Tensor]) -> tuple[int, ...] | None:
        """How many classes a checkpoint was trained for, as :meth:`build` takes them; None where a layer lacks."""
        layers = [self.class_layer, *([self.semantic_class_layer] if self.semantic_class_layer else [])]
        weights = [state.get(f"{layer}.weight") for layer in layers]
        counts = tuple(len(weight) for weight in weights if weight is not None and weight.ndim)
        return counts if len(counts) == len(layers) else None


def _fcn(name: str) -> Network:
    return Network(name, "semantic", class_layer="classifier.4", auxiliary="aux_classifier.")


def _maskrcnn(name: str, **options: Any) -> Network:
    return Network(name, "instance", class_layer=_BOX_CLASSES, **options)


def _panoptic_fpn(name: str, builder: Callable[..., nn.Module], **options: Any) -> Network:
    return Network(
        name,
        "panoptic",
        class_layer=_BOX_CLASSES,
        semantic_class_layer="semantic_head.predictor",
        builder=builder,
        **options,
    )


_BOX_CLASSES = "roi_heads.box_predictor.cls_score"
_MASKRCNN_R50 = partial(maskrcnn_resnet_fpn, depth=50, rules=DETECTRON2)
_MASKRCNN_R101 = partial(maskrcnn_resnet_fpn, depth=101, rules=DETECTRON2)
_TORCHVISION_R101 = partial(maskrcnn_resnet_fpn, depth=101, rules=TORCHVISION)
_MMDETECTION_R50 = partial(maskrcnn_resnet_fpn, depth=50)
_MMDETECTION_R101 = partial(maskrcnn_resnet_fpn, depth=101)
_PANOPTIC_R50 = partial(panoptic_fpn_resnet, depth=50)
_PANOPTIC_R101 = partial(panoptic_fpn_resnet, depth=101)


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        _fcn("fcn_resnet50"),
        _fcn("fcn_resnet101"),
        _fcn("deeplabv3_resnet50"),
        _fcn("deeplabv3_resnet101"),
        _fcn("deeplabv3_mobilenet_v3_large"),
        Network("lraspp_mobilenet_v3_large", "semantic", class_layer="classifier.high_classifier"),
        _maskrcnn(
            "maskrcnn_resnet50_fpn", frozen_norm_eps=0.0, detectron2=_MASKRCNN_R50, mmdetection=_MMDETECTION_R50
        ),
        _maskrcnn("maskrcnn_resnet50_fpn_v2"),
        _maskrcnn(
            "maskrcnn_resnet101_fpn",
            builder=_TORCHVISION_R101,
            detectron2=_MASKRCNN_R101,
            mmdetection=_MMDETECTION_R101,
        ),
        _panoptic_fpn("panoptic_fpn_resnet50", _PANOPTIC_R50, detectron2=_PANOPTIC_R50, mmdetection=_PANOPTIC_R50),
        _panoptic_fpn(
            "panoptic_fpn_resnet101", _PANOPTIC_R101, detectron2=_PANOPTIC_R101, mmdetection=_PANOPTIC_R101
        ),
        _panoptic_fpn("panoptic_fpn_mobilenet_v3_small", panoptic_fpn_mobilenet_v3_small),
        Network(
            "fcn_mobilenet_v3_small_fpn",
            "semantic",
            class_layer="classifier.2",
            builder=fcn_mobilenet_v3_small_fpn,
        ),
        _maskrcnn("maskrcnn_mobilenet_v3_small_fpn", builder=maskrcnn_mobilenet_v3_small_fpn),
    )
}

DEMO_NETWORKS: dict[Branch, str] = {
    "semantic": "fcn_mobilenet_v3_small_fpn",
    "instance": "maskrcnn_mobilenet_v3_small_fpn",
    "panoptic": "panoptic_fpn_mobilenet_v3_small",
}
"""The networks whose weights are part of the package."""


ANY_EOMT = "eomt"
"""The query network whose sizes are those of its weights."""


def _eomt(name: str, shape: EomtShape) -> Network:
    return Network(
        name,
        "panoptic",
        class_layer="class_predictor",
        builder=lambda classes: EoMT(replace(shape, classes=classes)),
        queries=shape,
    )


QUERY_NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        _eomt(ANY_EOMT, EomtShape(hidden=384, layers=12, heads=6, blocks=4, classes=133)),
        _eomt("eomt_small", EomtShape(hidden=384, layers=12, heads=6, blocks=3, classes=133)),
        _eomt("eomt_base", EomtShape(hidden=768, layers=12, heads=12, blocks=3, classes=133)),
        _eomt("eomt_large", EomtShape(hidden=1024, layers=24, heads=16, blocks=4, classes=133)),
    )
}
"""Networks whose queries are a segment each. They give things and stuff at once, and have no boxes."""


def find_network(name: str, branch: Branch) -> Network:
    """Look a network up.

    Raises:
        ExportError: there is none of this name, or it is of the other branch.
    """
    if name in QUERY_NETWORKS:
        # Their weights say what they were trained for; the network is the same.
        return replace(QUERY_NETWORKS[name], branch=branch)
    names = [network.name for network in NETWORKS.values() if network.branch == branch] + list(QUERY_NETWORKS)
    if name in names:
        return NETWORKS[name]
    if name in NETWORKS:
        raise ExportError(
            f"{name} is for {NETWORKS[name].branch} segmentation; {branch} networks are {', '.join(names)}"
        )
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    raise ExportError(f"no {branch} network is called {name!r}; {hint}")
