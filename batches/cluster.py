"""Runs on Dask: as many at a time as there are cores and memory for, on this machine or on a scheduler's
workers."""

import contextlib
import logging
import math
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import dask
import psutil
from distributed import Client, Event, LocalCluster, as_completed

from batches.grid import Run
from batches.run import FAIL, execute
from lib.parameters import lane_of
from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import new_folder
from ttvideo.targets.environments import interpreter

# GB of a run, all its processes: as measured with the notebooks' default sizes, and for each latent pixel
# [H x W] more; a simulated chip is a process of its own.
BASE_GB = {"01_repro": 4.0, "02_decompose": 4.0}
OTHERS_GB = 4.0
PIXEL_GB = {"03_full_decoder": 0.0016, "04_video_vaes": 0.0002, "06_cost": 0.0005, "08_fidelity": 0.0005}
SIMULATED_GB = 2.0
RESERVED_GB = 1.0  # for this process, and whatever else the machine does


def gigabytes(run: Run) -> float:
    """What a run is reckoned to hold; an estimate."""
    pixels = run.parameters["latent_height"] * run.parameters["latent_width"]
    simulated = SIMULATED_GB if lane_of(run.parameters).simulated else 0
    return BASE_GB.get(run.notebook, OTHERS_GB) + pixels * PIXEL_GB.get(run.notebook, 0) + simulated


@contextlib.contextmanager
def connected(scheduler: str | None, jobs: int | None = None) -> Iterator[Client]:
    """A client of that scheduler, or of a cluster of this process's own. Raises `Refused` if nobody answers
    or works there."""
    with contextlib.ExitStack() as stack:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        if scheduler is None:
            stack.enter_context(
                dask.config.set({"distributed.dashboard.link": "http://127.0.0.1:{port}/status"})
            )
            scheduler = stack.enter_context(
                own_cluster(jobs or psutil.cpu_count(), stack.enter_context(scratch()))
            )
        try:
            client = stack.enter_context(Client(scheduler, timeout=10, set_as_default=False))
        except (OSError, ValueError) as error:
            raise Refused(
                "scheduler", f"{scheduler}: {error or 'no answer'}", "the address of a Dask scheduler"
            ) from error
        offer_memory(client)
        yield client


def own_cluster(slots: int, folder: str) -> LocalCluster:
    """Threads, for each only waits for a process; so Ctrl-C meets no workers that it would end before their
    runs."""
    return LocalCluster(
        n_workers=1, threads_per_worker=slots, processes=False, dashboard_address="127.0.0.1:0",
        local_directory=folder, silence_logs=logging.CRITICAL,
    )  # fmt: skip


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """Where Dask keeps what is its own; what a killed sweep leaves is swept by the next."""
    folder = new_folder(0)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def offer_memory(client: Client) -> None:
    """Make each worker's share of its machine's free memory a resource, so that runs are placed by it."""
    machines = client.run(socket.gethostname)
    if not machines:
        raise Refused("scheduler", "no workers", "at least one: dask worker ADDRESS")
    free = client.run(lambda: psutil.virtual_memory().available / 1e9)
    for worker, machine in machines.items():
        share = (free[worker] - RESERVED_GB) / list(machines.values()).count(machine)
        client.run(set_resources, GB=max(share, 0.1), workers=[worker])


async def set_resources(dask_worker, **resources: float) -> None:
    await dask_worker.set_resources(**resources)


def run_all(client: Client, runs: list[Run], out: Path, timeout: float) -> Iterator[tuple[Run, dict]]:
    """Each run with its row, as they end; all that were started are ended when this is closed before that."""
    most = max(
        worker["resources"]["GB"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()
    )
    stop = Event(f"stop-{uuid.uuid4()}", client=client)
    futures = {}
    for run in runs:
        needed = min(
            gigabytes(run), math.floor(most * 10) / 10
        )  # one that is larger than any worker runs alone
        future = client.submit(
            one,
            run,
            out / run.name,
            timeout,
            stop.name,
            key=f"{run.name}-{uuid.uuid4()}",
            resources={"GB": needed},
        )
        futures[future] = run
    ended = False
    try:
        for future in as_completed(futures, loop=client.loop):
            error = future.exception()
            yield futures[future], future.result() if error is None else lost(error)
        ended = True
    finally:
        if not ended:
            stop.set()
            client.cancel([future for future in futures if future.status == "pending"], force=True)


def lost(error: BaseException) -> dict:
    return {"status": FAIL, "reason": f"{type(error).__name__}: {error}", "seconds": None, "gb": None}


def one(run: Run, folder: Path, timeout: float, stop: str) -> dict:
    """On a worker: the run, until it ends or is stopped."""
    event = Event(stop)
    asked = {"notebook": run.notebook, "parameters": run.parameters, "plugin": run.plugin}
    return execute(asked, folder, interpreter(run.plugin), timeout, event.is_set)
