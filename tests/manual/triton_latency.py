"""What a request to Triton takes beside a call of the segmenter, in turns: the medians, HTTP and gRPC.

PYTHONPATH=tests SEGOPT_TRITON_PYTHON=.venv-triton/bin/python \\
    .venv-scale/bin/python tests/manual/triton_latency.py ENGINE
"""

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

import clips
import segopt
import triton_server
from segopt.triton.repository import write_repository

ROUNDS = 40
SIZE = (480, 640)


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(engine):
    frame = clips.frame(3, SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_repository([engine], folder / "repository")
        triton_server.stand_in(folder / "repository")
        with triton_server.serving(folder / "repository", folder) as server:
            import tritonclient.grpc as over_grpc
            import tritonclient.http as over_http

            segmenter = segopt.load(engine, device="cpu", threads=1)
            with (
                over_http.InferenceServerClient(server.http) as http,
                over_grpc.InferenceServerClient(server.grpc) as grpc,
            ):
                asks = {"segmenter": lambda: segmenter(frame)}
                for protocol, triton, client in (("HTTP", over_http, http), ("gRPC", over_grpc, grpc)):
                    image = triton.InferInput("image", [1, *frame.shape], "UINT8")
                    image.set_data_from_numpy(np.ascontiguousarray(frame[None]))
                    for output in ("annotation", "segment_map"):
                        wanted = [triton.InferRequestedOutput(output)]
                        ask = partial(client.infer, "panoptic", [image], outputs=wanted)
                        asks[f"{protocol} {output}"] = ask
                times = {name: [] for name in asks}
                for _ in range(ROUNDS):
                    for name, ask in asks.items():
                        times[name].append(seconds(ask))
    for name, found in times.items():
        print(f"{name:<20} {1000 * statistics.median(found):.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
