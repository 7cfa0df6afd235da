"""A GPU made of host memory, so that what is built upon CUDA and TensorRT runs where there is none.

`SimulatedCuda` stands in for `cuda.bindings.runtime` and `SimulatedTensorRT` for `tensorrt` or `tensorrt_rtx`; the
network itself runs in ONNX Runtime. Work in a stream is *not* done until somebody waits for it, so that results
read too early, inputs written too late or overwritten too early and memory freed too early are wrong here as they
would be on a GPU. As there, each thread has a current device, some errors stay until the process ends, and a
thread that takes or frees memory spoils its own capture. It says nothing of TensorRT itself nor of speed:
tests/gpu does, on a GPU.
"""

import inspect
import threading
import weakref
from collections import Counter, deque
from functools import partial
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import tensorrt_rtx as trt
from cuda.bindings import driver as real_driver
from cuda.bindings import runtime as real

from segopt import cuda
from segopt.cuda import calls
from segopt_export.onnx_file.tensorrt_rules import refusals

GIB = 2**30
_OK = real.cudaError_t.cudaSuccess
_DRIVER_OK = real_driver.CUresult.CUDA_SUCCESS
STICKY = (
    real.cudaError_t.cudaErrorIllegalAddress,
    real.cudaError_t.cudaErrorLaunchFailure,
    real.cudaError_t.cudaErrorHardwareStackError,
)
"""After one of these nothing works any more in the process (CUDA's own documentation of them says so)."""
_ALWAYS_WORK = ("cudaGetLastError", "cudaGetErrorString", "cudaDriverGetVersion", "cudaRuntimeGetVersion")


def put_in(monkeypatch, gpu):
    """Let all that calls CUDA find this simulated GPU, until the test ends."""
    for module in (calls, cuda.stream, cuda.memory, cuda.graph):
        monkeypatch.setattr(module, "runtime", lambda: gpu)
    monkeypatch.setattr(calls, "driver", lambda: gpu)


class SimulatedCuda:
    """Functions of `cuda.bindings.runtime`, by the same names, arguments and return tuples."""

    CUresult = real_driver.CUresult
    cudaError_t, cudaMemcpyKind = real.cudaError_t, real.cudaMemcpyKind  # noqa: N815
    cudaStreamCaptureMode = real.cudaStreamCaptureMode  # noqa: N815
    cudaStreamNonBlocking = real.cudaStreamNonBlocking  # noqa: N815
    cudaHostAllocDefault, cudaHostAllocMapped = real.cudaHostAllocDefault, real.cudaHostAllocMapped  # noqa: N815
    cudaEventBlockingSync = real.cudaEventBlockingSync  # noqa: N815
    cudaEventDisableTiming = real.cudaEventDisableTiming  # noqa: N815
    cudaGetErrorString = staticmethod(real.cudaGetErrorString)  # noqa: N815

    def __init__(self, *, memory=GIB, devices=1, integrated=False):
        self.total = self.free = memory
        """Of each GPU; the host's memory is apart from it, and never ends."""
        self.integrated = integrated
        self.devices = devices
        self.used = Counter()
        """Devices on which anything was allocated or made."""
        self.live = Counter()
        self.calls = Counter()
        self.fails = {}
        """Function to the error that it gives."""
        self.sticky = None
        self.abandoned = 0
        """Pieces of work that were still to do when their stream went away."""
        self._objects = {}
        self._next = 1
        self._current = threading.local()
        self._capturing = {}
        """Thread to the stream that it captures."""

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        if inspect.ismethod(value) and name.startswith(("cuda", "cuCtx")):
            self.calls[name] += 1
            code = self.fails.get(name)
            if code in STICKY:
                self.sticky = code
            if self.sticky is not None and name.startswith("cuda") and name not in _ALWAYS_WORK:
                code = self.sticky
            if code is not None:
                return lambda *_: (code, None)
        return value

    # Device and errors.

    @property
    def device(self):
        """The current one of this thread."""
        return getattr(self._current, "context", None) or 0

    def cudaGetDeviceCount(self):  # noqa: N802
        return _OK, self.devices

    def cudaGetDeviceProperties(self, device):  # noqa: N802
        if not 0 <= device < self.devices:
            return real.cudaError_t.cudaErrorInvalidDevice, None
        name = b"Simulated" if device == 0 else b"Simulated %d" % device
        memory = self.total
        return _OK, SimpleNamespace(
            name=name, major=8, minor=9, totalGlobalMem=memory, integrated=int(self.integrated)
        )

    def cudaSetDevice(self, device):  # noqa: N802
        if not 0 <= device < self.devices:
            return (real.cudaError_t.cudaErrorInvalidDevice,)
        self._current.context = device
        return (_OK,)

    def cuCtxGetCurrent(self):  # noqa: N802
        """A context is known by its device's number; a thread that never chose has none."""
        return _DRIVER_OK, getattr(self._current, "context", None)

    def cuCtxSetCurrent(self, context):  # noqa: N802
        self._current.context = context
        return (_DRIVER_OK,)

    def cudaDriverGetVersion(self):  # noqa: N802
        return _OK, 13000

    def cudaRuntimeGetVersion(self):  # noqa: N802
        return _OK, 13020

    def cudaGetLastError(self):  # noqa: N802
        return (_OK,)

    def cudaMemGetInfo(self):  # noqa: N802
        return _OK, self.free, self.total

    def spoil_capture(self):
        """What a thread must not do while it captures ends its capture; the code, or that all is well."""
        stream = self._capturing.get(threading.get_ident())
        if stream is None:
            return _OK
        stream.valid = False
        return real.cudaError_t.cudaErrorStreamCaptureUnsupported

    # Memory.

    def allocate(self, kind, size, *, backed=True):
        if (code := self.spoil_capture()) != _OK:
            return code, None
        on_gpu = kind == "device memory"
        if on_gpu and size > self.free:
            return real.cudaError_t.cudaErrorMemoryAllocation, None
        # Not zero: who forgets to write or to copy reads this.
        block = np.full(size if backed else 1, 0xA5, np.uint8)
        self.free -= size if on_gpu else 0
        self.used[self.device] += 1
        self.live[kind] += 1
        self._objects[block.ctypes.data] = (kind, block, size)
        return _OK, block.ctypes.data

    def release(self, kind, address):
        if kind.endswith("memory") and (code := self.spoil_capture()) != _OK:
            return (code,)
        found, _, size = self._objects.pop(int(address))
        assert found == kind
        self.free += size if kind == "device memory" else 0
        self.live[kind] -= 1
        return (_OK,)

    def bytes_at(self, address, size):
        _, block, length = self._objects[int(address)]
        assert size <= length
        return block[:size]

    def kind_at(self, address):
        return self._objects[int(address)][0]

    def cudaMalloc(self, size):  # noqa: N802
        return self.allocate("device memory", size)

    def cudaHostAlloc(self, size, flags):  # noqa: N802
        if flags == real.cudaHostAllocDefault:
            return self.allocate("pinned memory", size)
        assert flags == real.cudaHostAllocMapped
        return self.allocate("mapped memory", size)

    def cudaHostGetDevicePointer(self, address, flags):  # noqa: N802
        """Another number than the host's: one taken for the other finds nothing."""
        kind, block, size = self._objects[int(address)]
        assert (kind, flags) == ("mapped memory", 0)
        self._objects[-int(address)] = ("mapped memory on the GPU", block, size)
        return _OK, -int(address)

    def cudaFree(self, address):  # noqa: N802
        return self.release("device memory", address)

    def cudaFreeHost(self, address):  # noqa: N802
        mapped = self._objects.pop(-int(address), None) is not None
        return self.release("mapped memory" if mapped else "pinned memory", address)

    def cudaMemcpyAsync(self, target, source, count, kind, stream):  # noqa: N802
        kinds = (real.cudaMemcpyKind.cudaMemcpyHostToDevice, real.cudaMemcpyKind.cudaMemcpyDeviceToHost)
        expected = ("pinned memory", "device memory")[:: 1 if kind == kinds[0] else -1]
        assert (self._objects[int(source)][0], self._objects[int(target)][0]) == expected

        def copy(launched):
            found = self.bytes_at(source, count)
            # The GPU may copy at once or later: what the host writes in between is a race.
            assert launched is None or launched == found.tobytes(), "an input was written after its launch"
            self.bytes_at(target, count)[:] = found

        def launch():
            """The copy, with what the host's memory holds now."""
            launched = self.bytes_at(source, count).tobytes() if kind == kinds[0] else None
            return partial(copy, launched)

        return (self.put(stream, launch),)

    # Streams and events.

    def make(self, kind, thing):
        handle, self._next = self._next, self._next + 1
        self.used[self.device] += 1
        self.live[kind] += 1
        self._objects[handle] = (kind, thing, 0)
        return _OK, handle

    def stream(self, handle):
        kind, stream, _ = self._objects[int(handle)]
        assert kind == "stream"
        return stream

    def put(self, handle, launch):
        """Queue the work that `launch` gives, or record it where the stream is being captured."""
        stream = self.stream(handle)
        if stream.device != self.device:
            return real.cudaError_t.cudaErrorInvalidResourceHandle
        if stream.captured is None:
            stream.queue.append(launch())
        elif stream.thread != threading.get_ident():
            return real.cudaError_t.cudaErrorStreamCaptureWrongThread
        else:
            stream.captured.append(launch)
        return _OK

    def wait(self, stream, until=None):
        code = _OK
        while stream.queue and (until is None or stream.done < until):
            # As on a GPU, the error of a piece of work is told to who waits for it.
            code = stream.queue.popleft()() or code
            stream.done += 1
        if code in STICKY:
            self.sticky = code
        return (code,)

    def cudaStreamCreateWithFlags(self, flags):  # noqa: N802
        assert flags == real.cudaStreamNonBlocking
        stream = SimpleNamespace(queue=deque(), done=0, captured=None, valid=True, thread=None, device=self.device)
        return self.make("stream", stream)

    def cudaStreamDestroy(self, stream):  # noqa: N802
        self.abandoned += len(self.stream(stream).queue)
        return self.release("stream", stream)

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        if self.stream(stream).captured is not None:
            return (real.cudaError_t.cudaErrorStreamCaptureUnsupported,)
        return self.wait(self.stream(stream))

    def cudaEventCreateWithFlags(self, flags):  # noqa: N802
        assert flags == real.cudaEventBlockingSync | real.cudaEventDisableTiming
        return self.make("event", SimpleNamespace(stream=None, until=0, device=self.device))

    def cudaEventDestroy(self, event):  # noqa: N802
        return self.release("event", event)

    def cudaEventRecord(self, event, stream):  # noqa: N802
        mark, where = self._objects[event][1], self.stream(stream)
        if mark.device != where.device:
            return (real.cudaError_t.cudaErrorInvalidResourceHandle,)
        mark.stream, mark.until = where, where.done + len(where.queue)
        return (_OK,)

    def cudaEventSynchronize(self, event):  # noqa: N802
        mark = self._objects[event][1]
        return self.wait(mark.stream, mark.until)

    # Graphs.

    def cudaStreamBeginCapture(self, stream, mode):  # noqa: N802
        assert mode == real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        where = self.stream(stream)
        where.captured, where.valid, where.thread = [], True, threading.get_ident()
        self._capturing[threading.get_ident()] = where
        return (_OK,)

    def cudaStreamEndCapture(self, stream):  # noqa: N802
        where = self.stream(stream)
        work, where.captured = where.captured, None
        del self._capturing[threading.get_ident()]
        if not where.valid:
            return real.cudaError_t.cudaErrorStreamCaptureInvalidated, None
        return self.make("graph", work)

    def cudaGraphInstantiate(self, graph, flags):  # noqa: N802
        assert flags == 0
        return self.make("executable graph", self._objects[graph][1])

    def cudaGraphDestroy(self, graph):  # noqa: N802
        return self.release("graph", graph)

    def cudaGraphExecDestroy(self, graph):  # noqa: N802
        return self.release("executable graph", graph)

    def cudaGraphLaunch(self, graph, stream):  # noqa: N802
        kind, work, _ = self._objects[graph]
        assert kind == "executable graph"
        codes = [self.put(stream, each) for each in work]
        return (next((code for code in codes if code != _OK), _OK),)


class SimulatedTensorRT:
    """A TensorRT module whose engines are ONNX files, on a `SimulatedCuda`.

    `capturable` is what TensorRT-RTX says beforehand, `captures` whether a capture works, `replays` whether what
    was captured runs when it is launched, `activations` the GPU memory that each context takes, in bytes.
    """

    CudaGraphStrategy, ILogger, TensorIOMode = trt.CudaGraphStrategy, trt.ILogger, trt.TensorIOMode
    nptype = staticmethod(trt.nptype)

    def __init__(self, cuda, model, *, version, capturable=True, captures=True, replays=True, activations=0):
        self.__version__ = version
        self.cuda, self.model, self.activations = cuda, model, activations
        self.capturable, self.captures, self.replays = capturable, captures, replays
        self.contexts = []
        """Keyword arguments that contexts were made with, and weak references to them."""
        self.engines = weakref.WeakSet()
        self.fails = False
        self.Runtime = lambda logger: _Runtime(self, logger)


class _Runtime:
    engine_host_code_allowed = False

    def __init__(self, module, logger):
        self._module, self._logger = module, logger

    def deserialize_cuda_engine(self, data):
        if not bytes(data).startswith(b"plan"):
            self._logger.log(trt.ILogger.ERROR, "Error Code 1: Serialization (magicTag is wrong)")
            return None
        return _Engine(self._module, self._logger)


class _Engine:
    def __init__(self, module, logger):
        self.module, self.logger = module, logger
        assert refusals(onnx.load(module.model)) == [], "no such plan: TensorRT would not take the graph"
        session = onnxruntime.InferenceSession(str(module.model), providers=["CPUExecutionProvider"])
        self.session = session
        self.nodes = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
        self.input_names = [node.name for node in session.get_inputs()]
        self.num_io_tensors = len(self.nodes)
        module.engines.add(self)

    def get_tensor_name(self, index):
        return list(self.nodes)[index]

    def get_tensor_mode(self, name):
        return trt.TensorIOMode.INPUT if name in self.input_names else trt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return trt.Dims(self.nodes[name].shape)

    def get_tensor_dtype(self, name):
        return {
            "tensor(uint8)": trt.DataType.UINT8,
            "tensor(int32)": trt.DataType.INT32,
            "tensor(float)": trt.DataType.FLOAT,
        }[self.nodes[name].type]

    def create_runtime_config(self):
        return _RuntimeConfig()

    def create_execution_context(self, runtime_config=None):
        code, address = self.module.cuda.allocate("device memory", self.module.activations, backed=False)
        if code != _OK:
            self.logger.log(trt.ILogger.ERROR, "Error Code 2: OutOfMemory (Requested size was too much)")
            return None
        context = _Context(self, runtime_config)
        weakref.finalize(context, self.module.cuda.release, "device memory", address)
        self.module.contexts.append(weakref.ref(context))
        return context


class _RuntimeConfig:
    cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED

    def create_runtime_cache(self):
        return _RuntimeCache()

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class _RuntimeCache:
    kernels = b""

    def deserialize(self, blob):
        if not blob.startswith(b"kernels"):
            return False
        self.kernels = bytes(blob)
        return True

    def serialize(self):
        return self.kernels


class _Context:
    def __init__(self, engine, config):
        self.engine, self.config = engine, config
        self.own_graphs = (
            config is not None and config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        )
        self.addresses = {}

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return name in self.engine.nodes

    def is_stream_capturable(self, stream):
        assert stream
        return self.engine.module.capturable

    def execute_async_v3(self, stream_handle):
        module, cuda = self.engine.module, self.engine.module.cuda
        stream = cuda.stream(stream_handle)
        if module.fails or (stream.captured is not None and not module.captures):
            stream.valid = False
            self.engine.logger.log(trt.ILogger.ERROR, "Error Code 1: Cuda Runtime (operation not permitted)")
            return False
        if self.config is not None:
            self.config.cache.kernels = self.config.cache.kernels or b"kernels of this GPU"
        # The addresses as they are now: a captured graph does not follow later changes.
        addresses, session, nodes = dict(self.addresses), self.engine.session, self.engine.nodes

        def bytes_of(name):
            itemsize = {"tensor(uint8)": 1}.get(nodes[name].type, 4)
            assert cuda.kind_at(addresses[name]) in ("device memory", "mapped memory on the GPU")
            return cuda.bytes_at(addresses[name], itemsize * int(np.prod(nodes[name].shape)))

        fails = stream.captured is not None and not module.replays

        def execute(launched):
            if fails:
                return real.cudaError_t.cudaErrorIllegalState
            for name, found in launched.items():
                assert found == bytes_of(name).tobytes(), "an input was written after its launch"
            feeds = {name: bytes_of(name).reshape(nodes[name].shape) for name in self.engine.input_names}
            names = [name for name in nodes if name not in feeds]
            for name, array in zip(names, session.run(names, feeds), strict=True):
                bytes_of(name)[:] = np.ascontiguousarray(array).view(np.uint8).ravel()
            return _OK

        def launch():
            """The network, with what the memory that it shares with the host holds now."""
            mapped = [name for name in self.engine.input_names if "mapped" in cuda.kind_at(addresses[name])]
            return partial(execute, {name: bytes_of(name).tobytes() for name in mapped})

        return cuda.put(stream_handle, launch) == _OK
