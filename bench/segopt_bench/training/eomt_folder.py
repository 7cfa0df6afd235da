"""EoMT's weights as a folder of Hugging Face's form, which `segopt export --weights` and transformers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from segopt.files.atomic import make_folder, replacing, write_json
from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.training.panoptic_samples import categories_of
from segopt_export.networks.eomt import EomtShape
from segopt_export.weights.eomt_config import CONFIG, DINOV3, PREPROCESSOR
from segopt_export.weights.eomt_names import dinov3_names

WEIGHTS = "model.safetensors"


def write_eomt_folder(
    folder: Path,
    shape: EomtShape,
    state: Mapping[str, Tensor],
    classes: Sequence[TruthClass],
    mask_probabilities: Sequence[float],
) -> None:
    """Write a network; files of the same names are replaced.

    Args:
        folder: is made where there is none.
        shape: of the network.
        state: its tensors, on the CPU.
        classes: of the data, in the network's order. The configuration has them whole under ``categories``, which
            says what is a thing.
        mask_probabilities: block by block, that a query attends inside of its mask alone (``attn_mask_probs``).

    Raises:
        SinkError: something cannot be written.
    """
    make_folder(folder)
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    if shape.rope_theta is not None:
        tensors = dinov3_names(tensors)
    tensors["attn_mask_probs"] = torch.tensor(list(mask_probabilities), dtype=torch.float32)
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / PREPROCESSOR, _preprocessor(shape))
    write_json(folder / CONFIG, {**_config(shape), **_classes(classes)})


def _classes(classes: Sequence[TruthClass]) -> dict[str, Any]:
    return {
        "id2label": {str(i): entry.name for i, entry in enumerate(classes)},
        "label2id": {entry.name: i for i, entry in enumerate(classes)},
        "categories": categories_of(classes),
    }


def _config(shape: EomtShape) -> dict[str, Any]:
    common = {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_blocks": shape.blocks,
        "num_queries": shape.queries,
        "num_upscale_blocks": shape.upscale_blocks,
        "num_register_tokens": shape.registers,
        "num_channels": 3,
        "patch_size": shape.patch,
        "image_size": shape.side,
        "layer_norm_eps": shape.norm_eps,
        "hidden_act": "gelu",
        "torch_dtype": "float32",
    }
    if shape.rope_theta is None:
        return {
            "model_type": "eomt",
            "architectures": ["EomtForUniversalSegmentation"],
            **common,
            "mlp_ratio": shape.mlp_ratio,
            "use_swiglu_ffn": False,
        }
    return {
        "model_type": DINOV3,
        "architectures": ["EomtDinov3ForUniversalSegmentation"],
        **common,
        "intermediate_size": shape.mlp_ratio * shape.hidden,
        "use_gated_mlp": False,
        "key_bias": shape.key_bias,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
    }


def _preprocessor(shape: EomtShape) -> dict[str, Any]:
    return {
        "image_processor_type": "EomtImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pad": True,
        "do_split_image": False,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
        "size": {"shortest_edge": shape.side, "longest_edge": shape.side},
    }
