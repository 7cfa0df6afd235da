"""CUDA graphs: work that is recorded once and launched as a whole."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator

from segopt.cuda.calls import CudaError, Owned, call, runtime
from segopt.cuda.stream import Stream


class Graph(Owned):
    """Recorded work, ready to launch; :func:`capture` makes it."""

    def launch(self, stream: Stream) -> None:
        """Put all of it into the stream."""
        call("cudaGraphLaunch", self.handle, stream.handle)


_CAPTURING = threading.Lock()


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
    with _without_garbage_collection():
        mode = runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.handle, mode)
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


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect first, and not in between: garbage that holds CUDA memory would be freed, which spoils a capture.

    The collector is the process's, so that captures take turns.
    """
    with _CAPTURING:
        gc.collect()
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()
