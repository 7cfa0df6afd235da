"""Asks a Triton server with a model of `segopt triton` for pictures, over HTTP or gRPC.

python examples/triton_client.py street.jpg other.png --url localhost:8000
python examples/triton_client.py street.jpg --grpc --url localhost:8001 --output answers

Needs `pip install 'segopt[triton]'`, and nothing else of segopt.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--url", default=None, help="localhost:8000, with --grpc localhost:8001")
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--model", default="panoptic")
    parser.add_argument("--output", type=Path, help="folder for panoptic PNGs")
    options = parser.parse_args()
    if options.grpc:
        import tritonclient.grpc as triton
    else:
        import tritonclient.http as triton

    png = "class_png" if options.model == "semantic" else "panoptic_png"
    names = ["annotation", *([png] if options.output else [])]
    # A client that is not closed holds up the server's end.
    with triton.InferenceServerClient(
        options.url or ("localhost:8001" if options.grpc else "localhost:8000")
    ) as client:
        for picture in options.pictures:
            data = np.array([[picture.read_bytes()]], dtype=np.object_)
            request = triton.InferInput("encoded", [1, 1], "BYTES")
            request.set_data_from_numpy(data)
            wanted = [triton.InferRequestedOutput(name) for name in names]
            try:
                answer = client.infer(options.model, [request], outputs=wanted)
            except triton.InferenceServerException as error:
                sys.exit(f"{picture}: {error.message()}")
            found = json.loads(answer.as_numpy("annotation")[0, 0])
            segments = found.get("segments_info", found.get("annotations"))
            print(f"{picture}: {found['width']}x{found['height']}, {len(segments)} segments")
            if options.output:
                options.output.mkdir(parents=True, exist_ok=True)
                (options.output / f"{picture.stem}.png").write_bytes(answer.as_numpy(png)[0, 0])


if __name__ == "__main__":
    main()
