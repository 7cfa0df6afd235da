"""Reads weights files that were made to harm, in a process with little memory.

`python hostile_weights.py FOLDER` prints one JSON line for each file: its name, the line that it was refused with
(None where it was read), seconds of CPU, and the most memory that the process has had so far, in MiB.
"""

import json
import resource
import struct
import sys
import time
import zipfile
from pathlib import Path

import torch

from segopt.errors import ExportError
from segopt_export.weights.checkpoint import read_groups

SIZE_OF_ADDRESSES = 8 << 30


def name_of(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def in_model(value):
    return b"\x80\x02}X\x05\x00\x00\x00model}X\x01\x00\x00\x00a" + value + b"ss."


def dtype(text):
    return name_of("numpy", "dtype") + b"X" + struct.pack("<I", len(text)) + text.encode() + b"\x85R"


NDARRAY = name_of("numpy", "ndarray")
ORDERED = name_of("collections", "OrderedDict")
OBJECTS = NDARRAY + b"(K\x01\x85" + dtype("O") + b"C\x08AAAAAAAAtR"
BIG = b"\x8a\x05" + struct.pack("<q", 5 * 10**9)[:5]

PICKLES = {
    "objects over bytes": b"\x80\x02" + ORDERED + OBJECTS + b"\x85R.",
    "objects in a model": in_model(OBJECTS),
    "20 GB of nothing": in_model(NDARRAY + b"(" + BIG + b"\x85" + dtype("f4") + b"tR"),
    "index of the memo": b"\x80\x02]r" + struct.pack("<I", 2**30) + b".",
    "deep lists": b"\x80\x02" + b"]" * 2_000_000 + b"a" * 1_999_999 + b".",
    "deep tuples as a key": b"\x80\x02})" + b"\x85" * 900_000 + b"K\x01s.",
    "forged dtype": in_model(
        NDARRAY + b"(K\x04\x85" + name_of("numpy", "dtype") + b"X\x02\x00\x00\x00V8\x85R"
        b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\x7fK\x01K?tbtR"
    ),
    "strides": in_model(
        NDARRAY + b"((J\x00\x00\x00\x01t" + dtype("f4") + b"C\x08AAAAAAAAK\x00(J\x00\x00\x00\x10ttR"
    ),
    "one list copied": b"\x80\x02](" + b"K\x01" * 100_000 + b"eq\x010]("
    + (ORDERED + b"h\x01\x85R") * 3000 + b"e.",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 2^60": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"a.",
    "a frame of 2^60": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
}  # fmt: skip


def archive(pickled, compression=zipfile.ZIP_STORED, storage=b"\0" * 64):
    def write(path):
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr("archive/data.pkl", pickled)
            file.writestr("archive/byteorder", b"little")
            file.writestr("archive/data/0", storage)
            file.writestr("archive/version", b"3\n")

    return write


def tensor(count, shape=b"K\x02\x85", stride=b"K\x01\x85", offset=b"K\x00"):
    """A float tensor of a storage that claims ``count`` values."""
    storage = (
        b"(X\x07\x00\x00\x00storage" + name_of("torch", "FloatStorage") + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    )
    rebuilt = (
        name_of("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + count + b"tQ" + offset + shape + stride
    )
    return b"\x80\x02}X\x01\x00\x00\x00a" + rebuilt + b"\x89" + ORDERED + b")RtRs."


ARCHIVES = {
    "3 MB that become 3 GB": archive(b"\x80\x02]" + b"]" * (100 << 20), zipfile.ZIP_DEFLATED),
    "numbers that are not there": archive(tensor(BIG, BIG + b"\x85")),
    "a bytearray of 5 GB": archive(b"\x80\x02" + name_of("__builtin__", "bytearray") + BIG + b"\x85R."),
    "a tensor of 5 GB": archive(b"\x80\x02" + name_of("torch", "FloatTensor") + BIG + b"\x85R."),
    "one counter copied": archive(
        b"\x80\x02}(" + b"".join(b"J" + struct.pack("<i", i) + b"K\x01" for i in range(100_000)) + b"uq\x010]("
        + (name_of("collections", "Counter") + b"h\x01\x85R") * 3000 + b"e."
    ),
    "before the first number": archive(tensor(b"K\x02", offset=b"J\x00\x00\x00\x80")),
    "a negative stride": archive(tensor(b"K\x02", stride=b"J\xff\xff\xff\xff\x85")),
    "the storage of no name": archive(tensor(b"K\x02").replace(b"X\x01\x00\x00\x000X", b"X\x01\x00\x00\x007X")),
}  # fmt: skip


def hostile(folder):
    for name, data in PICKLES.items():
        for suffix in (".pkl", ".pth"):
            path = folder / f"{name}{suffix}"
            path.write_bytes(data)
            yield path
    for name, write in ARCHIVES.items():
        path = folder / f"{name} in an archive.pth"
        write(path)
        yield path


def main():
    folder = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (SIZE_OF_ADDRESSES, SIZE_OF_ADDRESSES))
    for path in hostile(folder):
        began, line = time.process_time(), None
        print(json.dumps({"begins": path.name}), flush=True)
        try:
            for tensors in read_groups(path).values():
                for value in tensors.values():
                    assert value.numel() < 1000
                    value.to(torch.float64).sum().item()
        except ExportError as error:
            line = str(error)
        print(
            json.dumps({"file": path.name, "line": line, "seconds": time.process_time() - began, "peak": peak()})
        )


def peak():
    """Most memory that this process had at once, in MiB. Its ``ru_maxrss`` would begin with that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) >> 10


if __name__ == "__main__":
    main()
