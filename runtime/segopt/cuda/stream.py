"""Streams: queues of work on the GPU; events: marks in them."""

from __future__ import annotations

from segopt.cuda.calls import Owned, call, runtime


class Stream(Owned):
    """A queue whose work is done in order, and independently of every other stream.

    Raises:
        CudaError: none can be made.
    """

    def __init__(self) -> None:
        super().__init__(call("cudaStreamCreateWithFlags", runtime().cudaStreamNonBlocking), "cudaStreamDestroy")

    def synchronize(self) -> None:
        """Wait until all work in it is done.

        Raises:
            CudaError: some of that work failed.
        """
        call("cudaStreamSynchronize", self.handle)


class Event(Owned):
    """A mark in a stream that a thread can wait for. The thread sleeps: a device's few cores have other work.

    Raises:
        CudaError: none can be made.
    """

    def __init__(self) -> None:
        cuda = runtime()
        flags = cuda.cudaEventBlockingSync | cuda.cudaEventDisableTiming
        super().__init__(call("cudaEventCreateWithFlags", flags), "cudaEventDestroy")

    def record(self, stream: Stream) -> None:
        """Put the mark after all work that is in the stream now."""
        call("cudaEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        """Wait until the work before the mark is done.

        Raises:
            CudaError: some of that work failed.
        """
        call("cudaEventSynchronize", self.handle)
