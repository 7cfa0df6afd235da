"""The front of a model in Triton, in its Python backend: pictures in, results out, the network in between.

The server hands over requests that came at about the same time. Each is validated before their frames are put into
one batch, so that a bad one is refused and does not hurt the others. The network is another model of the same
server, on its ONNX Runtime or TensorRT backend.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.backends import Backend
from segopt.backends.base import Tensors
from segopt.errors import EngineError, SegoptError, first_line
from segopt.frame import Frame
from segopt.model.card import Card
from segopt.model.tensors import TensorSpec
from segopt.pixel_limit import too_large
from segopt.results import Result
from segopt.segmenter import Segmenter
from segopt.sources.pictures import decode_picture
from segopt.triton.answers import ANSWERS
from segopt.triton.layout import CARD_NAME, PARAMETERS, specs_from

_MOST_BATCHES = 8


class BadRequestError(SegoptError):
    """A request that can never be answered; the client is told so."""


class ServedNetwork(Backend):
    """A network that the same server runs."""

    def __init__(self, utils: Any, name: str, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]):
        self.name = name
        self.inputs, self.outputs = inputs, outputs
        self._utils = utils
        # What runs on a GPU is wanted here.
        memory = getattr(utils, "PreferredMemory", None)
        self._where = {"preferred_memory": memory(utils.TRITONSERVER_MEMORY_CPU)} if memory else {}

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        request = self._utils.InferenceRequest(
            model_name=self.name,
            requested_output_names=list(self.outputs),
            inputs=[self._utils.Tensor(name, array) for name, array in inputs.items()],
            **self._where,
        )
        response = request.exec()
        if response.has_error():
            raise EngineError(f"{self.name}: {response.error().message()}")
        find = self._utils.get_output_tensor_by_name
        # The tensors lie in memory that the server takes back.
        return {name: find(response, name).as_numpy().copy() for name in self.outputs}

    def close(self) -> None:
        """The server ends it."""


@dataclass
class _Taken:
    """A request on its way."""

    frames: list[Frame] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    error: Exception | None = None


class Front:
    """What :class:`TritonPythonModel` is made of."""

    def __init__(self, utils: Any, config: Mapping[str, Any], folder: Path) -> None:
        """Set up from the model's configuration and its version's folder, which holds the card."""
        self._utils = utils
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        path = folder / CARD_NAME
        card = Card.from_json(path.read_text(encoding="utf-8"), source=str(path))
        limits: dict[str, Any] = {
            name: convert(given[name]) for name, convert in PARAMETERS.items() if given.get(name)
        }
        segmenters = []
        for network in given["networks"].split():
            name, _, batch = network.partition(":")
            own = replace(card, batch=int(batch))
            backend = ServedNetwork(utils, name, *specs_from(own, int(given["mask_side"])))
            segmenters.append(Segmenter.from_backend(own, backend, **limits))
        self._segmenters = sorted(segmenters, key=lambda each: each.batch, reverse=True)
        self._answers = ANSWERS[self._segmenters[0].mode]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for each request, in their order."""
        taken = [self._take(request) for request in requests]
        self._segment([each for each in taken if each.error is None])
        return [self._response(request, each) for request, each in zip(requests, taken, strict=True)]

    def _take(self, request: Any) -> _Taken:
        try:
            return _Taken(_frames(self._utils, request))
        except Exception as error:
            return _Taken(error=error)

    def _segment(self, taken: Sequence[_Taken]) -> None:
        queue = [(each, frame) for each in taken for frame in each.frames]
        while queue:
            # Unused slots cost as much as used ones: the largest batch that is full, else the smallest there is.
            full = [each for each in self._segmenters if each.batch <= len(queue)]
            segmenter = full[0] if full else self._segmenters[-1]
            part, queue = queue[: segmenter.batch], queue[segmenter.batch :]
            try:
                prepared = segmenter.prepare([frame for _, frame in part])
                results = segmenter.finish(prepared, segmenter.infer(prepared))
            except Exception as error:
                for each, _ in part:
                    each.error = error
                continue
            for (each, _), result in zip(part, results, strict=True):
                each.results.append(result)

    def _response(self, request: Any, taken: _Taken) -> Any:
        utils = self._utils
        error = taken.error
        if error is None:
            try:
                wanted = request.requested_output_names()
                return utils.InferenceResponse([self._tensor(name, taken.results) for name in sorted(wanted)])
            except Exception as failure:
                error = failure
        # Of an unforeseen one the type says more than its text.
        text = str(error) if isinstance(error, SegoptError) else f"{type(error).__name__}: {first_line(error)}"
        code = utils.TritonError.INVALID_ARG if isinstance(error, BadRequestError) else utils.TritonError.INTERNAL
        return utils.InferenceResponse(output_tensors=[], error=utils.TritonError(text, code))

    def _tensor(self, name: str, results: Sequence[Result]) -> Any:
        return self._utils.Tensor(name, np.stack([self._answers[name].make(result) for result in results]))


def _frames(utils: Any, request: Any) -> list[Frame]:
    """The frames of one request, of either input.

    Raises:
        BadRequestError: it has none, or one that cannot be segmented.
    """
    find = utils.get_input_tensor_by_name
    image, encoded = find(request, "image"), find(request, "encoded")
    if (image is None) == (encoded is None):
        raise BadRequestError("a request has one of the inputs image (uint8 BGR) and encoded (a JPEG or PNG)")
    if image is not None:
        frames = image.as_numpy()
        if frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
            raise BadRequestError(f"image is {list(frames.shape)}, and must be [batch, height, width, 3], none 0")
        if (trouble := too_large(*frames.shape[1:3])) is not None:
            raise BadRequestError(f"image {trouble}")
        return list(frames)
    pictures = [bytes(data) for data in encoded.as_numpy().ravel()]
    try:
        frames = [decode_picture(data, "encoded") for data in pictures]
    except SegoptError as error:
        raise BadRequestError(str(error)) from None
    if len({frame.shape for frame in frames}) != 1:
        raise BadRequestError("encoded has pictures of several sizes, or none; send a request for each")
    return frames


class TritonPythonModel:
    """The name and the methods that Triton's Python backend looks for."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Set up an instance; Triton gives the configuration and the folder."""
        # Each instance is a process, and there are several: one thread for each is enough.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import triton_python_backend_utils as utils

        folder = Path(args["model_repository"]) / args["model_version"]
        self._front = Front(utils, json.loads(args["model_config"]), folder)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests."""
        return self._front.execute(requests)
