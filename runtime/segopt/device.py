"""Where a model runs, as a user writes it: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt``, ``openvino``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from segopt.errors import UsageError

Kind = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Device:
    """Where to run."""

    kind: Kind
    number: int = 0
    """CUDA's number of the GPU; ``CUDA_VISIBLE_DEVICES`` counts."""
    target: str = "CPU"
    """OpenVINO's name of its device: ``CPU``, ``GPU``, ``GPU.1``, ``NPU``."""

    @property
    def on_nvidia(self) -> bool:
        """Whether it is an NVIDIA GPU, or may be one."""
        return self.kind not in ("cpu", "openvino")


def parse_device(text: str) -> Device:
    """A device from what a user wrote.

    Raises:
        UsageError: there is none of that name.
    """
    if openvino := re.fullmatch(r"openvino(?::(CPU|NPU|GPU(?:\.\d{1,2})?))?", text):
        return Device("openvino", target=openvino[1] or "CPU")
    found = re.fullmatch(r"(cuda|tensorrt):(\d{1,3})", text)
    name, number = (found[1], int(found[2])) if found else (text, 0)
    for kind in KINDS:
        if kind == name:
            return Device(kind, number)
    raise UsageError(
        f"device {text!r} is unknown; it is one of {', '.join(KINDS)}, or cuda:1, openvino:GPU, openvino:NPU"
    )
