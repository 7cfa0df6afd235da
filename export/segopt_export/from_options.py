"""An export from plain options: texts, numbers and paths, as a script or the command line has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from torch import nn

from segopt.errors import UsageError
from segopt.frame import Frame
from segopt.model.card import MODES, Mode
from segopt_export import exporter
from segopt_export.exported import Exported
from segopt_export.networks.families import Style
from segopt_export.networks.table import NETWORKS, QUERY_NETWORKS, Branch
from segopt_export.plain_options import height_and_width, one_of, points_for_int8
from segopt_export.precision.fitting import Precision
from segopt_export.request import ExportRequest
from segopt_export.static.limits import DetectionLimits, RoiAlign, Target
from segopt_export.weights.loading import WeightsRequest

SettingsGiven = str | os.PathLike[str] | Mapping[str, Any] | None
"""A JSON file, or what is in it."""


def export(
    mode: str,
    *,
    network: str | None = None,
    module: nn.Module | None = None,
    weights: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    weights_style: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    settings: SettingsGiven = None,
    semantic: str | None = None,
    semantic_module: nn.Module | None = None,
    semantic_weights: str | os.PathLike[str] | None = None,
    semantic_weights_key: str | None = None,
    semantic_classes: str | os.PathLike[str] | None = None,
    semantic_settings: SettingsGiven = None,
    instance: str | None = None,
    instance_module: nn.Module | None = None,
    instance_weights: str | os.PathLike[str] | None = None,
    instance_weights_key: str | None = None,
    instance_classes: str | os.PathLike[str] | None = None,
    instance_settings: SettingsGiven = None,
    size: tuple[int, int] | str | None = None,
    batch: int = 1,
    max_detections: int | None = None,
    candidates: int = 2000,
    suppression_steps: int = 20,
    proposals: int | None = None,
    map_scale: int = 1,
    roi_align: str | None = None,
    all_masks: bool = False,
    frozen_norm_eps: float | None = None,
    precision: str = "fp32",
    calibration: str | os.PathLike[str] | Sequence[Frame] | None = None,
    int8_loss: float | None = None,
    target: str = "cpu",
    output: str | os.PathLike[str] | None = None,
) -> Exported:
    """Export a network, or two that are fused, to one ONNX file that is checked against PyTorch.

    What the command ``segopt export`` does, without building a plan; :func:`segopt.build` makes one from the file.
    Messages name options as the command line does: ``--semantic-weights`` is ``semantic_weights``.

    >>> import segopt_export
    >>> segopt_export.export("semantic", network="fcn_resnet50", size=(512, 896))  # doctest: +SKIP
    >>> segopt_export.export(  # doctest: +SKIP
    ...     "panoptic",
    ...     semantic="deeplabv3_resnet50",
    ...     semantic_weights="street.pth",
    ...     semantic_classes="street.json",
    ...     instance="maskrcnn_resnet50_fpn",
    ...     precision="fp16",
    ...     output="street.onnx",
    ... )

    Args:
        mode: ``semantic``, ``instance`` or ``panoptic``.
        network: its name, or an import path to what builds yours (``my_project.models:build``); of a panoptic
            export one network that answers both. None is the mode's default.
        module: a live network of your own, in place of a name: a ``MaskRCNN`` of torchvision with any backbone,
            or a module that answers logits [B, C, H, W] at its input's resolution. It is copied, not changed.
        weights: ``default``, ``demo``, ``random``, or a ``.pth``, ``.pt``, ``.safetensors`` or ``.pkl`` file; of a
            query network a folder with ``config.json`` and ``model.safetensors``.
        weights_key: which of a file's networks is meant: the key of its weights, such as ``model_ema``.
        weights_style: ``pytorch`` or ``caffe``, of a checkpoint of mmdetection's that does not say it.
        classes: JSON file with names, or COCO categories, of a weights file's classes.
        settings: what a weights file does not hold: a JSON file, or what :func:`segopt_export.settings_of` gives.
        semantic: panoptic of two networks: the semantic one, with options of its own.
        semantic_module: as ``module``, of the semantic network.
        semantic_weights: as ``weights``, of the semantic network.
        semantic_weights_key: as ``weights_key``, of the semantic network's file.
        semantic_classes: as ``classes``, of the semantic network.
        semantic_settings: as ``settings``, of the semantic network.
        instance: panoptic of two networks: the instance one, with options of its own.
        instance_module: as ``module``, of the instance network.
        instance_weights: as ``weights``, of the instance network.
        instance_weights_key: as ``weights_key``, of the instance network's file.
        instance_classes: as ``classes``, of the instance network.
        instance_settings: as ``settings``, of the instance network.
        size: height and width of the canvas in pixels, multiples of 32; None is what the network or its settings
            say, else (800, 1344), semantic (512, 896), demo weights (256, 448).
        batch: frames at once.
        max_detections: detections per frame; None is the network's own ``box_detections_per_img``, 100. Of a query
            network, the queries that are kept at most, 128 or fewer.
        candidates: boxes above the score threshold that enter suppression; at most 3840.
        suppression_steps: steps of suppression in the graph.
        proposals: regions that a detector's box head looks at; None is the network's own, 1000. Fewer are faster,
            and find less.
        map_scale: query networks: 2 makes a map of twice the canvas's sides in the graph, for finer borders.
        roi_align: ``grid`` or ``gather``: how boxes are read from the features; None is what is fast on the
            target.
        all_masks: files for the CPU: compute a mask for each slot, and not for those alone that hold a detection,
            so that the graph has no loop in it and the same work for each picture.
        frozen_norm_eps: epsilon of a Mask R-CNN file's frozen batch norms; 1e-5 where training began from
            ImageNet.
        precision: ``fp32``, ``fp16`` or ``int8``.
        calibration: fp16 and int8: folder of pictures like yours, or the pictures, uint8 BGR [h, w, 3] each.
        int8_loss: int8: points of agreement with the file before it is quantized that may be lost, such as 1.0;
            layers are chosen for the time that they save. None leaves out each layer that adds much noise.
        target: ``cpu`` or ``tensorrt``: what the graph is made fast for; it runs on both.
        output: the ``.onnx`` file; None is ``engines/MODE-NETWORKS-PRECISION.onnx`` in the current folder.

    Returns:
        The file's path, its card, the figures of the comparison with PyTorch, and notes on the choices made.

    Raises:
        UsageError: options that are unknown, or do not go together.
        ExportError: the network cannot be exported: unknown name, weights that do not fit, bad size, failed check.
        SourceError: no picture for the calibration can be read.
        SinkError: the file cannot be written.
    """
    request = request_of(
        mode,
        network=network,
        module=module,
        weights=weights,
        weights_key=weights_key,
        weights_style=weights_style,
        classes=classes,
        settings=settings,
        semantic=semantic,
        semantic_module=semantic_module,
        semantic_weights=semantic_weights,
        semantic_weights_key=semantic_weights_key,
        semantic_classes=semantic_classes,
        semantic_settings=semantic_settings,
        instance=instance,
        instance_module=instance_module,
        instance_weights=instance_weights,
        instance_weights_key=instance_weights_key,
        instance_classes=instance_classes,
        instance_settings=instance_settings,
        size=size,
        batch=batch,
        max_detections=max_detections,
        candidates=candidates,
        suppression_steps=suppression_steps,
        proposals=proposals,
        map_scale=map_scale,
        roi_align=roi_align,
        all_masks=all_masks,
        frozen_norm_eps=frozen_norm_eps,
        precision=precision,
        calibration=calibration,
        int8_loss=int8_loss,
        target=target,
        output=output,
    )
    return exporter.export(request)


def request_of(
    mode: str,
    *,
    network: str | None = None,
    module: nn.Module | None = None,
    weights: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    weights_style: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    settings: SettingsGiven = None,
    semantic: str | None = None,
    semantic_module: nn.Module | None = None,
    semantic_weights: str | os.PathLike[str] | None = None,
    semantic_weights_key: str | None = None,
    semantic_classes: str | os.PathLike[str] | None = None,
    semantic_settings: SettingsGiven = None,
    instance: str | None = None,
    instance_module: nn.Module | None = None,
    instance_weights: str | os.PathLike[str] | None = None,
    instance_weights_key: str | None = None,
    instance_classes: str | os.PathLike[str] | None = None,
    instance_settings: SettingsGiven = None,
    size: tuple[int, int] | str | None = None,
    batch: int = 1,
    max_detections: int | None = None,
    candidates: int = 2000,
    suppression_steps: int = 20,
    proposals: int | None = None,
    map_scale: int = 1,
    roi_align: str | None = None,
    all_masks: bool = False,
    frozen_norm_eps: float | None = None,
    precision: str = "fp32",
    calibration: str | os.PathLike[str] | Sequence[Frame] | None = None,
    int8_loss: float | None = None,
    target: str = "cpu",
    output: str | os.PathLike[str] | None = None,
) -> ExportRequest:
    """Options of :func:`export` as a request.

    Raises:
        UsageError: options that are unknown, or do not go together.
    """
    checked_mode = cast("Mode", one_of("mode", mode, MODES))
    checked_precision = cast("Precision", one_of("precision", precision, get_args(Precision)))
    if calibration is not None and checked_precision == "fp32":
        raise UsageError("--calibration is for --precision fp16 and int8; fp32 needs no pictures")
    if weights_style is not None and checked_mode == "semantic":
        raise UsageError("--weights-style is for mmdetection's detectors; a semantic export takes none")
    style = (
        None if weights_style is None else cast("Style", one_of("weights-style", weights_style, get_args(Style)))
    )
    reader = None if roi_align is None else cast("RoiAlign", one_of("roi-align", roi_align, get_args(RoiAlign)))
    options = _by_branch(
        checked_mode,
        shared=_Given(network, module, _text(weights), weights_key, _text(classes), settings),
        semantic=_Given(
            semantic,
            semantic_module,
            _text(semantic_weights),
            semantic_weights_key,
            _text(semantic_classes),
            semantic_settings,
        ),
        instance=_Given(
            instance,
            instance_module,
            _text(instance_weights),
            instance_weights_key,
            _text(instance_classes),
            instance_settings,
        ),
    )
    return ExportRequest(
        mode=checked_mode,
        networks={branch: given.network for branch, given in options.items() if given.network},
        modules={branch: given.module for branch, given in options.items() if given.module is not None},
        settings={
            branch: given.settings if isinstance(given.settings, Mapping) else Path(given.settings)
            for branch, given in options.items()
            if given.settings is not None
        },
        weights={
            branch: WeightsRequest(
                given.weights or "default",
                Path(given.classes) if given.classes else None,
                frozen_norm_eps,
                key=given.weights_key,
                style=None if branch == "semantic" else style,
            )
            for branch, given in options.items()
        },
        canvas=height_and_width(size),
        batch=batch,
        limits=DetectionLimits(max_detections, candidates, suppression_steps, reader, map_scale, all_masks),
        proposals=proposals,
        target=cast("Target", one_of("target", target, get_args(Target))),
        precision=checked_precision,
        int8_loss=points_for_int8(int8_loss, precision),
        calibration=os.fspath(calibration) if isinstance(calibration, (str, os.PathLike)) else calibration,
        output=None if output is None else Path(output),
    )


@dataclass(frozen=True)
class _Given:
    """What was given for one network; None where nothing was."""

    network: str | None = None
    module: nn.Module | None = None
    weights: str | None = None
    weights_key: str | None = None
    classes: str | None = None
    settings: SettingsGiven = None

    def refuse(self, branch: str, reason: str) -> None:
        """Raise a UsageError, with this reason, that names the first of a branch's options that was given."""
        for name, value in vars(self).items():
            if value is not None:
                option = name.replace("_", "-")
                raise UsageError(
                    f"--{branch if name == 'network' else f'{branch}-{option}'} {reason.format(option)}"
                )


def _by_branch(mode: Mode, *, shared: _Given, semantic: _Given, instance: _Given) -> dict[Branch, _Given]:
    """Options of each branch; what names no branch belongs to the only one there is, or to both (weights)."""
    own: dict[Branch, _Given] = {"semantic": semantic, "instance": instance}
    of_two = any(given != _Given() for given in own.values())
    of_one = shared.network is not None or shared.module is not None
    if mode == "panoptic" and (of_one or (shared.weights == "demo" and not of_two)):
        _check_one_for_both(shared, own)
        return {"panoptic": shared}
    if mode == "panoptic":
        for name in ("weights_key", "classes", "settings"):
            if getattr(shared, name) is not None:
                option = name.replace("_", "-")
                raise UsageError(
                    f"--{option} does not say which network of a panoptic export it is for; "
                    f"give --semantic-{option} or --instance-{option}"
                )
        if shared.weights not in (None, "default", "demo", "random"):
            raise UsageError(
                f"--weights {shared.weights} is one file for two networks; "
                "give --semantic-weights and --instance-weights, or --network with one network that answers both"
            )
        return {branch: replace(given, weights=given.weights or shared.weights) for branch, given in own.items()}
    for branch, given in own.items():
        given.refuse(branch, f"is for panoptic exports; a {mode} export takes --{{}}")
    return {mode: shared}


def _check_one_for_both(shared: _Given, own: Mapping[Branch, _Given]) -> None:
    """See that a panoptic export of one network is asked for as one."""
    known = NETWORKS.get(shared.network or "")
    if known is not None and known.branch != "panoptic":
        takers = ", ".join(each.name for each in (NETWORKS | QUERY_NETWORKS).values() if each.branch == "panoptic")
        raise UsageError(
            f"--network {known.name} answers one half of a panoptic export; give --semantic and --instance, "
            f"or one network for both: {takers}"
        )
    for branch, given in own.items():
        given.refuse(branch, "is for a panoptic export of two networks; --network names one for both")


def _text(file: str | os.PathLike[str] | None) -> str | None:
    return None if file is None else os.fspath(file)
