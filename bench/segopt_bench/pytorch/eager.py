"""The PyTorch networks of a card as they are without segopt: torchvision's own forward, run eagerly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from segopt.letterbox import Letterbox, Prepared
from segopt.masks.crop import MaskCrop
from segopt.model.card import Card, PasteRule
from segopt.results import InstanceResult, PanopticResult, Result, SemanticResult
from segopt.thresholds import Thresholds
from segopt_bench.pytorch.eager_stages import EagerStages
from segopt_bench.pytorch.planes import merge_planes, paste_planes

Answer = dict[str, Tensor]
"""Of one frame: ``semantic`` uint8 [H, W]; ``boxes``, ``scores``, ``labels``, ``masks`` float [N, 1, 28, 28]."""


class EagerSegmenter(EagerStages):
    """Does the job of :class:`segopt.segmenter.Segmenter`, in the same stages, with PyTorch alone.

    A picture becomes a float tensor as torchvision's ``to_tensor`` makes it, each network's own forward runs,
    torchvision pastes every mask that its detector returns, and panoptic merging works on whole planes as
    Detectron2's does. Resizing is the letterbox's, so that both sides see the same canvas. A network that is
    segopt's own (Panoptic FPN) is run in the form that it is trained in.

    Args:
        card: of the exported model.
        thresholds: of scores, overlap and stuff.
        networks: branch to its network, in eval mode. They are changed in place: detectors resize no more, and
            leave pasting to :meth:`assemble`.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        half: run in mixed half precision (autocast), which is for a GPU.
        compiled: pass the networks to ``torch.compile``.
    """

    def __init__(
        self,
        card: Card,
        thresholds: Thresholds,
        networks: Mapping[str, nn.Module],
        *,
        device: str = "cpu",
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__(card, device=device, half=half)
        self.thresholds = thresholds
        self._transforms: list[GeneralizedRCNNTransform] = []
        self._branches: list[Callable[[Tensor], list[Answer]]] = []
        for name, network in networks.items():
            network.to(self._device)
            detects = hasattr(network, "roi_heads")
            if detects:
                self._transforms.append(_leave_to_others(network, card))
            called = torch.compile(network) if compiled else network
            self._branches.append(_detector(called) if detects else self._semantic_network(called, name))

    def _answers(self, rgb: Tensor) -> list[Answer]:
        answers: list[Answer] = [{} for _ in rgb]
        for branch in self._branches:
            for answer, part in zip(answers, branch(rgb), strict=True):
                answer.update(part)
        return answers

    def decode(self, prepared: Prepared, answers: list[Answer]) -> list[tuple[Letterbox, Answer]]:
        """The answers of the frames that there are, without what lies in the padding."""
        return [
            (box, _on_content(answer, box)) for box, answer in zip(prepared.letterboxes, answers, strict=False)
        ]

    def assemble(self, found: tuple[Letterbox, Answer]) -> Result:
        """Paste, and merge where the mode is panoptic."""
        letterbox, answer = found
        with torch.inference_mode():
            return _ASSEMBLERS[self.card.mode](self, letterbox, answer)

    def _semantic_network(self, network: Callable[[Tensor], Any], branch: str) -> Callable[[Tensor], list[Answer]]:
        # Of two networks each may have its own; the card's is what the canvas is padded with.
        own = self.card.settings.get(branch, {})
        mean, std = self._normalization(own.get("image_mean", self.card.mean), own.get("image_std", self.card.std))

        def answers(rgb: Tensor) -> list[Answer]:
            logits = network((rgb - mean) / std)["out"]
            return [{"semantic": classes} for classes in logits.argmax(1).to(torch.uint8)]

        return answers

    def _semantic(self, letterbox: Letterbox, answer: Answer) -> SemanticResult:
        return SemanticResult(_label_map(letterbox, answer), self.card.categories["semantic"])

    def _instance(self, letterbox: Letterbox, answer: Answer) -> InstanceResult:
        boxes, planes = self._pasted(letterbox, answer)
        kept = answer["scores"] >= self.thresholds.score
        masks = planes[kept].cpu().numpy()
        return InstanceResult(
            boxes=boxes[kept].cpu().numpy(),
            scores=answer["scores"][kept].float().cpu().numpy(),
            labels=answer["labels"][kept].int().cpu().numpy(),
            crops=tuple(MaskCrop(0, 0, mask) for mask in masks),
            size=letterbox.frame,
            categories=self.card.categories["instance"],
        )

    def _panoptic(self, letterbox: Letterbox, answer: Answer) -> PanopticResult:
        _, planes = self._pasted(letterbox, answer)
        segment_map, segments = merge_planes(
            planes,
            answer["scores"].float(),
            answer["labels"],
            torch.from_numpy(_label_map(letterbox, answer)).to(self._device),
            self.card.stuff_classes,
            score_threshold=self.thresholds.score,
            overlap_threshold=self.thresholds.overlap,
            stuff_area=self.thresholds.stuff_area,
        )
        return PanopticResult(segment_map, tuple(segments), self.card.categories["panoptic"])

    def _pasted(self, letterbox: Letterbox, answer: Answer) -> tuple[Tensor, Tensor]:
        """Boxes float32 [N, 4] and masks bool [N, H, W] on the frame."""
        return _PASTES[self.card.mask_paste](self._transforms[0], letterbox, answer)


_ASSEMBLERS: dict[str, Callable[[EagerSegmenter, Letterbox, Answer], Result]] = {
    "semantic": EagerSegmenter._semantic,
    "instance": EagerSegmenter._instance,
    "panoptic": EagerSegmenter._panoptic,
}


def _leave_to_others(network: Any, card: Card) -> GeneralizedRCNNTransform:
    """Let a detector take its pictures as they are and return its masks as small as they come."""
    transform: GeneralizedRCNNTransform = network.transform
    transform.resize = lambda picture, target=None: (picture, target)
    transform.postprocess = lambda answers, _sizes, _originals: answers
    network.roi_heads.detections_per_img = card.max_detections
    return transform


def _detector(network: Callable[[list[Tensor]], Any]) -> Callable[[Tensor], list[Answer]]:
    def answers(rgb: Tensor) -> list[Answer]:
        found: Any = network(list(rgb))
        # A compiled or traced detector returns its losses, too.
        return list(found[1] if isinstance(found, tuple) else found)

    return answers


def _on_content(answer: Answer, letterbox: Letterbox) -> Answer:
    """Without the detections that lie wholly in the padding, at which torchvision's paste fails."""
    if "boxes" not in answer:
        return answer
    height, width = letterbox.content
    boxes = answer["boxes"]
    on_content = (boxes[:, 0] < width) & (boxes[:, 1] < height)
    kept = {name: answer[name][on_content] for name in ("boxes", "scores", "labels", "masks")}
    return {**answer, **kept}


def _label_map(letterbox: Letterbox, answer: Answer) -> Any:
    return letterbox.map_to_frame(answer["semantic"].cpu().numpy().astype(np.uint8, copy=False))


def _torchvision_paste(
    transform: GeneralizedRCNNTransform, letterbox: Letterbox, answer: Answer
) -> tuple[Tensor, Tensor]:
    whole = {name: answer[name] for name in ("boxes", "scores", "labels", "masks")}
    # The method of the class: the object's own was replaced.
    (pasted,) = type(transform).postprocess(transform, [whole], [letterbox.content], [letterbox.frame])
    return pasted["boxes"], pasted["masks"][:, 0] >= 0.5


def _detectron2_paste(
    _transform: GeneralizedRCNNTransform, letterbox: Letterbox, answer: Answer
) -> tuple[Tensor, Tensor]:
    boxes = torch.from_numpy(letterbox.boxes_to_frame(answer["boxes"].float().cpu().numpy()))
    boxes = boxes.to(answer["boxes"].device)
    return boxes, paste_planes(answer["masks"][:, 0], boxes, letterbox.frame)


_PASTES: dict[PasteRule, Callable[..., tuple[Tensor, Tensor]]] = {
    "torchvision": _torchvision_paste,
    "detectron2": _detectron2_paste,
}
