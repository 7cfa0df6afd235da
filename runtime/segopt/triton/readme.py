"""The README of a model repository."""

from __future__ import annotations

from collections.abc import Sequence

from segopt.model.card import Card, Mode
from segopt.triton.answers import ANSWERS


def readme(mode: Mode, networks: Sequence[str], card: Card) -> str:
    """What the repository is, how it is served, asked and watched."""
    answers = "\n".join(
        f"| `{name}` | {answer.data_type.removeprefix('TYPE_').replace('STRING', 'BYTES')} | "
        f"{['batch', *(['height', 'width'] if len(answer.dims) == 2 else ['1'])]} |"
        for name, answer in ANSWERS[mode].items()
    ).replace("'", "")
    height, width = card.canvas
    return f"""# {mode.capitalize()} segmentation for Triton

{" + ".join(card.networks.values())}, {height}x{width}, {card.precision}. Written by `segopt triton`;
`segopt triton --check FOLDER` validates it after a change.

## Serve

```
docker run --rm --gpus all --shm-size 1g -p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$PWD":/models \\
    nvcr.io/nvidia/tritonserver:YY.MM-py3 \\
    sh -c "pip install segopt && exec tritonserver --model-repository /models --exit-timeout-secs 5"
```

Without a GPU leave `--gpus all` out. A `.plan` loads in the container alone whose TensorRT it was built with.

## Ask

Model `{mode}`; one of two inputs: `image` (UINT8 [batch, height, width, 3], BGR, of any size) or `encoded` (BYTES
[batch, 1], a JPEG or PNG). Outputs, each made only when it is asked for:

| name | type | shape |
|---|---|---|
{answers}

Frames of several sizes that come at once share a batch. A request that is malformed gets status 400
(INVALID_ARGUMENT), and those beside it are answered.

## Watch

`curl localhost:8002/metrics`, labels `model="{mode}"` and {", ".join(f'`model="{name}"`' for name in networks)}:

| metric | what |
|---|---|
| `nv_inference_request_success`, `nv_inference_request_failure` | requests |
| `nv_inference_count` over `nv_inference_exec_count` of `{mode}` | frames in a batch, on average |
| `nv_inference_queue_duration_us` | waiting: more of it asks for more instances |
| `nv_inference_compute_infer_duration_us` of a network | the network; of `{mode}`: all together |
| `nv_gpu_utilization`, `nv_gpu_memory_used_bytes` | the GPU |

`count` in `instance_group` of a `config.pbtxt` is how many run at once, `max_queue_delay_microseconds` how long a
request waits for others.
"""
