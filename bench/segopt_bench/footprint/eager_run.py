"""``python -m segopt_bench.footprint.eager_run``: the job of ``segopt run``, with the network in eager PyTorch.

Everything but the network, its paste and its merge is the runtime's own: source, pipeline, drawing, encoding. So
the two jobs differ by nothing else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torch import nn

from segopt.errors import SegoptError
from segopt.model.reading import read_card
from segopt.pipeline.run import run_pipeline
from segopt.sinks.making import make_sinks
from segopt.sources import open_source
from segopt.thresholds import Thresholds
from segopt_bench.pytorch.making import eager_segmenter
from segopt_bench.pytorch.network import load_trained


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--engine", type=Path, required=True, help="its card names the network")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("source")
    options = parser.parse_args(arguments)
    try:
        run(options.engine, options.source, options.output, options.max_frames)
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(engine: Path, source: str, output: Path, max_frames: int | None) -> None:
    """Draw the results of a source's frames.

    Raises:
        SegoptError: a file cannot be read or written.
    """
    card = read_card(engine)
    networks: dict[str, nn.Module] = {branch: trained.model for branch, trained in load_trained(card, {}).items()}
    thresholds = Thresholds(card.score_threshold, card.overlap_threshold, card.stuff_area)
    segmenter = eager_segmenter(card, thresholds, networks)
    with open_source(source, max_frames=max_frames) as opened:
        run_pipeline(opened, segmenter, make_sinks(["overlay"], output, opened, card.mode), batch=card.batch)


if __name__ == "__main__":
    sys.exit(main())
