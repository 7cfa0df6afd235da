"""The files of Detectron2's model zoo that are the default weights of a network."""

from __future__ import annotations

from dataclasses import dataclass

_ZOO = "https://dl.fbaipublicfiles.com/detectron2"


@dataclass(frozen=True)
class ZooFile:
    """A published checkpoint, trained on COCO; under CC BY-SA 3.0 (detectron2/MODEL_ZOO.md)."""

    name: str
    """As the card has it."""
    url: str
    sha256: str | None
    """None where nobody published one. The six digits in a file's name are of no hash of its content."""
    figures: str
    """On COCO val2017, as the model zoo reports them."""

    @property
    def note(self) -> str:
        """What a user should know of the file."""
        checked = "; its SHA-256 was checked" if self.sha256 else ""
        return f"{self.name}: {self.figures} on COCO val2017 as its zoo reports, license CC BY-SA 3.0{checked}"


ZOO: dict[str, ZooFile] = {
    "panoptic_fpn_resnet50": ZooFile(
        "Detectron2 panoptic_fpn_R_50_3x",
        f"{_ZOO}/COCO-PanopticSegmentation/panoptic_fpn_R_50_3x/139514569/model_final_c10459.pkl",
        None,
        "PQ 41.5",
    ),
    "panoptic_fpn_resnet101": ZooFile(
        "Detectron2 panoptic_fpn_R_101_3x",
        f"{_ZOO}/COCO-PanopticSegmentation/panoptic_fpn_R_101_3x/139514519/model_final_cafdb1.pkl",
        # As InterDigital's CompressAI-Vision pins it (scripts/install.sh).
        "808c675e647298688589c895c9581f7f3963995c5708bc53f66449200321d147",
        "PQ 43.0",
    ),
    "maskrcnn_resnet101_fpn": ZooFile(
        "Detectron2 mask_rcnn_R_101_FPN_3x",
        f"{_ZOO}/COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl",
        None,
        "mask AP 38.6",
    ),
}
"""By network. The default of Mask R-CNN with a ResNet-50 is torchvision's; it takes Detectron2's as a file."""
