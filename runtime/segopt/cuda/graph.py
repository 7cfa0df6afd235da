"""CUDA graphs: work that is recorded once and launched as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from segopt.cuda.calls import CudaError, Owned, call, runtime
from segopt.cuda.stream import Stream


class Graph(Owned):
    """Recorded work, ready to launch; :func:`capture` makes it."""

    def launch(self, stream: Stream) -> None:
        """Put all of it into the stream."""
        call("cudaGraphLaunch", self.handle, stream.handle)


def capture(stream: Stream, work: Callable[[], None]) -> Graph:
    """Record what a function puts into a stream; nothing of it runs.

    The capture is thread-local: other threads may go on to use CUDA (roboflow/inference #2866 met error 906 where
    it was global).

    Args:
        stream: nothing else may use it meanwhile.
        work: puts asynchronous work into the stream, at addresses that stay good for as long as the graph is used.

    Raises:
        CudaError: the work cannot be captured.
        Exception: what ``work`` raised; the stream can be used as before.
    """
    call("cudaStreamBeginCapture", stream.handle, runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        work()
    except BaseException:
        # Ends the capture, whose graph may be broken: then there is none to destroy.
        with contextlib.suppress(CudaError):
            call("cudaGraphDestroy", call("cudaStreamEndCapture", stream.handle))
        raise
    graph = call("cudaStreamEndCapture", stream.handle)
    try:
        return Graph(call("cudaGraphInstantiate", graph, 0), "cudaGraphExecDestroy")
    finally:
        call("cudaGraphDestroy", graph)
