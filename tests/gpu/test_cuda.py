"""The CUDA package on a real GPU: copies, order, graphs, and memory that is given back."""

import threading

import numpy as np
import pytest

from segopt import cuda
from segopt.cuda import DeviceArray, Event, PinnedArray, Stream, capture

MIB = 2**20
SHAPE = (3, 1 << 20)


@pytest.fixture
def arrays():
    """Pinned arrays of a source and a target, a device array between them, and a stream."""
    with (
        PinnedArray(SHAPE, "u1") as source,
        PinnedArray(SHAPE, "u1") as target,
        DeviceArray(SHAPE, "u1") as device,
        Stream() as stream,
    ):
        source.array[:] = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
        target.array[:] = 0
        yield source, target, device, stream


def test_what_goes_to_the_gpu_comes_back(arrays):
    source, target, device, stream = arrays
    device.copy_from(source, stream)
    device.copy_to(target, stream)
    stream.synchronize()
    np.testing.assert_array_equal(target.array, source.array)


def test_an_event_is_passed_when_what_was_before_it_is_done(arrays):
    source, target, device, stream = arrays
    with Event() as event:
        for _ in range(50):
            device.copy_from(source, stream)
            device.copy_to(target, stream)
        event.record(stream)
        event.synchronize()
        np.testing.assert_array_equal(target.array, source.array)


def test_a_captured_graph_does_its_work_at_each_launch_and_none_at_capture(arrays):
    source, target, device, stream = arrays

    def there_and_back():
        device.copy_from(source, stream)
        device.copy_to(target, stream)

    with capture(stream, there_and_back) as graph:
        stream.synchronize()
        assert not target.array.any()
        for value in (1, 2):
            source.array[:] = value
            graph.launch(stream)
            stream.synchronize()
            assert (target.array == value).all()


def test_memory_is_given_back():
    for _ in range(3):
        DeviceArray((64 * MIB,), "u1").close()
    before, total = cuda.device_memory()
    with DeviceArray((256 * MIB,), "u1"):
        held, _ = cuda.device_memory()
    after, _ = cuda.device_memory()
    assert 0 < before <= total
    assert before - held >= 256 * MIB
    assert abs(before - after) < MIB


def test_more_memory_than_there_is_is_an_error_that_says_so_and_spoils_nothing(arrays):
    _, total = cuda.device_memory()
    with pytest.raises(cuda.CudaMemoryError, match="memory") as error:
        DeviceArray((2 * total,), "u1")
    assert "\n" not in str(error.value)
    source, target, device, stream = arrays
    device.copy_from(source, stream)
    device.copy_to(target, stream)
    stream.synchronize()
    np.testing.assert_array_equal(target.array, source.array)


def test_threads_with_streams_of_their_own_do_not_disturb_each_other():
    errors = []

    def work(value):
        try:
            with (
                PinnedArray(SHAPE, "u1") as source,
                PinnedArray(SHAPE, "u1") as target,
                DeviceArray(SHAPE, "u1") as device,
                Stream() as stream,
            ):
                source.array[:] = value
                for _ in range(100):
                    target.array[:] = 0
                    device.copy_from(source, stream)
                    device.copy_to(target, stream)
                    stream.synchronize()
                    assert (target.array == value).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
