"""TensorRT-RTX: all that segopt uses of TensorRT, and what only RTX has."""

# ruff: noqa: I001 (it wants one import for each name that is handed on)

from typing import ClassVar

import tensorrt as trt
from tensorrt import (
    Builder as Builder,
    BuilderFlag as BuilderFlag,
    DataType as DataType,
    Dims as Dims,
    EngineInspector as EngineInspector,
    HardwareCompatibilityLevel as HardwareCompatibilityLevel,
    IHostMemory as IHostMemory,
    ILayer as ILayer,
    ILogger as ILogger,
    INetworkDefinition as INetworkDefinition,
    IProgressMonitor as IProgressMonitor,
    ITensor as ITensor,
    ITimingCache as ITimingCache,
    LayerInformationFormat as LayerInformationFormat,
    LayerType as LayerType,
    MemoryPoolType as MemoryPoolType,
    NetworkDefinitionCreationFlag as NetworkDefinitionCreationFlag,
    OnnxParser as OnnxParser,
    ParserError as ParserError,
    ProfilingVerbosity as ProfilingVerbosity,
    Runtime as Runtime,
    TensorIOMode as TensorIOMode,
    __version__ as __version__,
    nptype as nptype,
)
from typing_extensions import Buffer

class ComputeCapability(trt._Enum): ...

class CudaGraphStrategy(trt._Enum):
    DISABLED: ClassVar[CudaGraphStrategy]
    WHOLE_GRAPH_CAPTURE: ClassVar[CudaGraphStrategy]

class IBuilderConfig(trt.IBuilderConfig):
    num_compute_capabilities: int
    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool: ...

class IRuntimeCache:
    def deserialize(self, blob: Buffer) -> bool: ...
    def serialize(self) -> trt.IHostMemory: ...

class IRuntimeConfig(trt.IRuntimeConfig):
    cuda_graph_strategy: CudaGraphStrategy
    def create_runtime_cache(self) -> IRuntimeCache: ...
    def set_runtime_cache(self, cache: IRuntimeCache) -> bool: ...

class IExecutionContext(trt.IExecutionContext):
    def is_stream_capturable(self, stream: int) -> bool: ...

class ICudaEngine(trt.ICudaEngine):
    def create_runtime_config(self) -> IRuntimeConfig: ...
