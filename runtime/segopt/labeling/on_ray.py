"""Units on Ray Data: actors that each have the model loaded, retries, one machine or a cluster.

Names of units go through Ray, never pixels: a 1080p frame through the object store costs more than to segment it
again from the file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from segopt import interrupts
from segopt.errors import EngineError, SegoptError, UsageError, first_line
from segopt.labeling.units import Unit
from segopt.labeling.worker import Report, Settings, Worker

_PORT = 6379
_ANSWER_SECONDS = 5.0
_BLOCKS = 1000
_BLOCKS_OF_A_WORKER = 20
"""Units are handed out in so many portions: of few units each is its own, of many a portion has several."""
_STORE_BYTES = 100 << 20
"""Of a Ray that is started here. Nothing but names and reports goes through it."""


@dataclass(frozen=True)
class Cluster:
    """Where and with what the units are done."""

    workers: int | None = None
    """None takes as many as the machine or cluster has room for."""
    cpus: int = 1
    """CPUs of each worker, and threads of its network."""
    gpus: float = 0.0
    """GPUs of each worker; 0.5 lets two share one."""
    address: str | None = None
    """``HOST``, ``HOST:PORT`` or ``auto`` of a running Ray; None starts one here, for this job."""
    patience: float = 60.0
    """Seconds in which Ray must have started, or answered."""

    def __call__(self, settings: Settings, units: Sequence[Unit]) -> Iterator[Report]:
        """Do units, see :data:`segopt.labeling.run.Executor`.

        Raises:
            EngineError: Ray does not start, or gave up.
            UsageError: the address does not answer.
        """
        import_ray()
        import ray

        self._connect(ray)
        try:
            yield from self._reports(ray, settings, units)
        except SegoptError:
            raise
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray ended the job ({_reason(error)}); what is done stays, run it again") from None
        finally:
            with contextlib.suppress(Exception):
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        options: dict[str, Any] = {}
        if self.address is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            # Neither RAY_ADDRESS nor a Ray that runs beside it is meant.
            options["address"] = "local"
            options["num_cpus"] = max(cores, (self.workers or 1) * self.cpus)
            options["include_dashboard"] = False
            options["object_store_memory"] = _STORE_BYTES
        else:
            options["address"] = _answering(self.address)
        late = threading.Timer(self.patience, _give_up, [self.address, self.patience])
        late.daemon = True
        late.start()
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            where = "does not start here" if self.address is None else f"at {self.address} cannot be used"
            raise EngineError(f"Ray {where} ({first_line(error)[:200]}); see `ray status`") from None
        finally:
            late.cancel()
        # Ray set a handler of its own.
        interrupts.watch()

    def _reports(self, ray: Any, settings: Settings, units: Sequence[Unit]) -> Iterator[Report]:
        import ray.data  # type: ignore[no-redef]

        workers = min(self._workers(ray), len(units))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        blocks = min(len(units), max(_BLOCKS, _BLOCKS_OF_A_WORKER * workers))
        rows = [{"unit": json.dumps(unit.to_json())} for unit in units]
        done = ray.data.from_items(rows, override_num_blocks=blocks).map(
            _Actor,
            fn_constructor_args=(settings,),
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=self.cpus,
            **({"num_gpus": self.gpus} if self.gpus else {}),
        )
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for text in batch["report"].to_pylist():
                yield Report.from_json(text)

    def _workers(self, ray: Any) -> int:
        """How many there are to be.

        Raises:
            UsageError: there is no room for one.
        """
        if self.workers is not None:
            return self.workers
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0) // self.cpus)
        if self.gpus:
            room = min(room, int(there.get("GPU", 0) / self.gpus))
        if room < 1:
            raise UsageError(
                f"a worker of {self.cpus} CPUs and {self.gpus:g} GPUs finds no room: Ray has "
                f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs; ask for less, or set "
                "--workers for a cluster that grows"
            )
        return room


def import_ray() -> None:
    """Find out whether Ray Data is installed, and keep it from sending usage statistics.

    Raises:
        EngineError: it is not.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What goes wrong is told in this program's words; Ray's own are in its logs.
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")
    # A note on what a later release will do with variables of GPUs.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import pyarrow  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"label needs Ray Data ({first_line(error)}); install it with `pip install 'segopt[cluster]'`"
        ) from None


@contextlib.contextmanager
def native_lines_dropped() -> Iterator[None]:
    """Drop what Ray's C++ parts print to this process's stderr; Python's goes on. SEGOPT_DEBUG lets it through."""
    if os.environ.get("SEGOPT_DEBUG", "") not in ("", "0"):
        yield
        return
    python = sys.stderr
    python.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = open(kept, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python
        os.dup2(kept, 2)
        os.close(kept)


class _Actor:
    """A worker in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self._worker = Worker(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"report": self._worker(Unit.from_json(json.loads(row["unit"]))).to_json()}


def _answering(address: str) -> str:
    """The address with its port, once somebody answers there.

    Raises:
        UsageError: nobody does.
    """
    if address == "auto" or "://" in address:
        return address
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(_PORT))
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--address {address}: is neither auto, HOST nor HOST:PORT")
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"--address {address}: does not answer ({error.strerror or error}); give the head node of a Ray that "
            f"runs, HOST:{_PORT}, or leave it out to start one here"
        ) from None
    return f"{host}:{port}"


def _give_up(address: str | None, seconds: float) -> None:
    # ray.init cannot be interrupted.
    where = "did not start here" if address is None else f"at {address} did not answer"
    print(f"segopt: error: Ray {where} within {seconds:g} s; see `ray status`", file=sys.stderr, flush=True)
    os._exit(1)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
