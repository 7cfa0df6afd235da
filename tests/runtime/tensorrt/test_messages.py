"""TensorRT's messages as they reach a user: one line, no places in its sources, and what to do."""

import pytest

from segopt.tensorrt.messages import MessageLog, fix_for, one_line

PLACE = "/_src/optimizer/shapeof/graphShapeAnalyzer.cpp"
TOPK = (
    "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (ITopKLayer topk: topk: K exceeds the "
    f"maximum value allowed (3840). In processCheck at {PLACE}:1066 In analyzeShapes at {PLACE}:2825)"
)
TURING = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_turing_op_compatibility] Cannot "
    "compile operation 'node_matmul' for Turing (SM75): FP32 GEMM is not supported. In compileGraph at "
    "/_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
TYPES = """Invalid Node - mixed_add
ITensor::getDimensions: Error Code 4: API Usage Error (mixed_add: ElementWiseOperation SUM must have same \
input types. But they are of types Float and Half. In validateTypes at \
/_src/optimizer/common/nodes/elementWiseNode.cpp:40)
[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at \
/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient))"""
NO_DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at /_src/common/"
    "dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"
)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (TOPK, "ITopKLayer topk: topk: K exceeds the maximum value allowed (3840)"),
        (TURING, "Cannot compile operation 'node_matmul' for Turing (SM75): FP32 GEMM is not supported"),
        (
            TYPES,
            "mixed_add: ElementWiseOperation SUM must have same input types. But they are of types Float and Half",
        ),
        (NO_DRIVER, "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"),
        ("[builder.cpp::build::2084] Error Code 2: OutOfMemory (no memory.)", "no memory"),
        ("plain words", "plain words"),
        ("two\nlines.", "two lines"),
        ("x" * 1000, "x" * 296 + " ..."),
    ],
)
def test_a_message_becomes_one_line_of_what_happened(message, shown):
    assert one_line(message) == shown


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        (TOPK, "--candidates"),
        (TURING, "leave 7.5 out"),
        (NO_DRIVER, "newer NVIDIA driver"),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)", "smaller --workspace"),
        ("10: Could not find any implementation for node {ForeignNode[a...b]}.", "more --workspace"),
        ("something else", "the default"),
    ],
)
def test_known_errors_have_a_fix(reason, fix):
    assert fix in fix_for(reason, "the default")


def test_the_first_error_explains_and_what_follows_a_missing_driver_does_not():
    log = MessageLog()
    assert log.reason() == "TensorRT does not say why"
    for severity, message in (
        (4, "verbose words"),
        (2, "a warning"),
        (0, "Thread context has not been set! Using global log stream."),
        (1, NO_DRIVER),
        (1, TOPK),
        (1, NO_DRIVER),
        (1, "a later one"),
    ):
        log.log(severity, message)
    assert log.reason() == one_line(TOPK)
    log.clear()
    log.log(1, NO_DRIVER)
    assert "cudaError 35" in log.reason()
