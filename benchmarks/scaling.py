"""What Ray costs, and where the driver's limit lies.

    python benchmarks/scaling.py --json FILE driver   # virtual workers that sleep
    python benchmarks/scaling.py --json FILE actors   # real actors that sleep
    python benchmarks/scaling.py --json FILE cost     # beside this process

The first runs the driver as it is, with its files, renames and fsyncs, on virtual workers behind
the interface that Ray's actors are behind: each takes a fixed time for a shard. The second does the
same with actors of Ray, a process each. The third extracts drawn scenes with a real backbone, by
this process, by one actor and by this process again, and adds its turns to those of the file: give
it at different times. Start-up is left out everywhere.
"""

from __future__ import annotations

import argparse
import heapq
import os
import tempfile
import time
from collections import deque
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import figures

from featcache.backbone import BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.datasets.base import ImageRecord
from featcache.distributed import driver as driving
from featcache.distributed.driver import Driver
from featcache.distributed.engine import RayEngine
from featcache.distributed.fleet import Fleet, Made, Proven, Pulse
from featcache.distributed.messages import Challenge, Hello, Order, Receipt
from featcache.distributed.settings import ClusterConfig
from featcache.extraction.counting import Counting
from featcache.extraction.engine import Job
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.stopping import StopRequest
from featcache.storage.durable import staged, write_bytes
from featcache.storage.entries import FileEntry
from featcache.storage.layout import SHARDS, shard_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featcache.distributed.fleet import Event

IMAGES = 512  # of a shard, the default
MEDIAN = "median of all turns"
NONCE = "nonce"
CONTENT = b"a shard would be here"
CHUNK = [ImageRecord(f"photos/{n:09d}.jpg", f"photos/{n:09d}.jpg") for n in range(IMAGES)]


def receipt(order: Order, folder: Path, attempt: int) -> Receipt:
    """Write a small file in place of a shard, and say what a worker says."""
    path = staged(folder / shard_name(order.number), attempt)
    path.write_bytes(CONTENT)
    entry = FileEntry(bytes=len(CONTENT), xxh3_128="0" * 32, rows=IMAGES)
    return Receipt(number=order.number, file=path.name, entry=entry, images=len(order.images))


class Sleepers(Fleet):
    """Virtual workers that take a fixed time for each shard; their files are written before."""

    def __init__(self, out: Path, size: int, seconds: float, shards: int) -> None:
        self.size, self.ready, self.seconds = size, size, seconds
        self.free = [0.0] * size  # when each has done all that it was given
        self.due: list[tuple[float, int, int]] = []
        self.made: dict[int, Receipt] = {}
        self.events: deque[Event] = deque()
        self.began: float | None = None
        for worker in range(size):
            file = staged(out / SHARDS / "answer", worker)
            write_bytes(file, NONCE.encode())
            hello = Hello(host="here", pid=worker, device="virtual", answer=file.name)
            self.events.append(Proven(worker, hello))
        for number in range(shards):
            order = Order(number=number, attempt=1, images=CHUNK)
            self.made[number] = receipt(order, out, order.attempt)

    def give(self, worker: int, order: Order) -> None:
        """Note when it will be done."""
        self.began = self.began or time.monotonic()
        self.free[worker] = max(self.free[worker], time.monotonic()) + self.seconds
        heapq.heappush(self.due, (self.free[worker], worker, order.number))

    def wait(self, seconds: float) -> Sequence[Event]:
        """Return what is done by now."""
        if not self.events and self.due:
            time.sleep(min(max(self.due[0][0] - time.monotonic(), 0.0), seconds))
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            _, worker, number = heapq.heappop(self.due)
            self.events += (Pulse(worker, number), Made(worker, self.made[number]))
        found = list(self.events)
        self.events.clear()
        return found

    def replace(self, worker: int, reason: str) -> None:
        """Nobody is replaced."""

    def close(self) -> None:
        """Nothing runs."""


def drive(size: int, seconds: float, shards: int) -> tuple[float, float]:
    """Let virtual workers make shards; returns the seconds that it took, and of the processor."""
    with tempfile.TemporaryDirectory() as folder, StopRequest() as stop:
        out = Path(folder)
        (out / SHARDS).mkdir()
        chunks = dict.fromkeys(range(shards), CHUNK)
        job = Job(
            chunks=chunks, changes={}, root=out, out=out, backbone=None, manifest=None, batch_size=1
        )  # type: ignore[arg-type]
        run = Counting(out, ExtractConfig(), lambda event: None)
        run.total = shards * IMAGES
        asked = Challenge(probe="", nonce=NONCE, images={}, backbone={}, versions={})
        fleet = Sleepers(out, size, seconds, shards)
        driver = Driver(fleet, job, run, asked, patience=1e9, stop=stop)
        processor = time.process_time()
        driver.loop()
        return time.monotonic() - (fleet.began or 0.0), time.process_time() - processor


def driver_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure virtual workers, and the driver with workers that take no time."""
    rows = []
    for size in args.workers:
        shards = size * args.rounds
        took, processor = drive(size, args.seconds, shards)
        ideal = args.rounds * args.seconds
        rows.append(
            {
                "case": f"{size:,} workers, {args.seconds:g} s a shard",
                "shards_s": shards / took,
                "images_s": shards * IMAGES / took,
                "linear": ideal / took,
                "processor_ms": 1000 * processor / shards,
                "load": os.getloadavg()[0],
            }
        )
    took, processor = drive(64, 0.0, args.limit)
    rows.append(
        {
            "case": "the driver's limit: workers that take no time",
            "shards_s": args.limit / took,
            "images_s": args.limit * IMAGES / took,
            "linear": None,
            "processor_ms": 1000 * processor / args.limit,
            "load": os.getloadavg()[0],
        }
    )
    return rows


def actor_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure actors of Ray, a process each, that sleep in place of a backbone, or take no time."""
    import ray

    from featcache.distributed import ray_fleet

    class Sleeper(ray_fleet._Actor):
        """Sleeps, and writes a small file."""

        def prove(self, challenge: Challenge) -> Hello:
            file = staged(self.tools[0] / SHARDS / "answer", os.getpid())
            write_bytes(file, NONCE.encode())
            return Hello(host="here", pid=os.getpid(), device="asleep", answer=file.name)

        def make(self, order: Order) -> Receipt:
            out, seconds = self.tools
            with self._turn:
                time.sleep(seconds)
            self._images += len(order.images)
            return receipt(order, out, order.attempt)

    class Timed(ray_fleet.RayFleet):
        """Knows when the first order was given, to workers that are all there."""

        began: float | None = None

        def give(self, worker: int, order: Order) -> None:
            self.began = self.began or time.monotonic()
            super().give(worker, order)

    ray_fleet._Actor = Sleeper
    driving.BARRIER = float("inf")  # all actors are there before the first order
    rows = []
    ray.init(
        address="local",
        num_cpus=max(args.workers),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=ray_fleet.STORE,
    )
    cases = [(size, args.seconds, size * args.rounds) for size in args.workers]
    for size, seconds, shards in [*cases, (2, 0.0, args.limit)]:
        with tempfile.TemporaryDirectory() as folder, StopRequest() as stop:
            out = Path(folder)
            (out / SHARDS).mkdir()
            job = Job(
                chunks=dict.fromkeys(range(shards), CHUNK),
                changes={},
                root=out,
                out=out,
                backbone=None,
                manifest=None,
                batch_size=1,
            )  # type: ignore[arg-type]
            place = ray_fleet.Room(actors=size, fit=size, gpus=0, cpus=1)
            asked = Challenge(probe="", nonce=NONCE, images={}, backbone={}, versions={})
            fleet = Timed((out, seconds), place, asked)  # type: ignore[arg-type]
            run = Counting(out, ExtractConfig(), lambda event: None)
            run.total = shards * IMAGES
            driver = Driver(fleet, job, run, asked, patience=1e9, stop=stop)
            processor = time.process_time()
            driver.loop()
            processor = time.process_time() - processor
            took = time.monotonic() - (fleet.began or 0.0)
            fleet.close()
        rows.append(
            {
                "case": f"{size} actors, {seconds:g} s a shard",
                "shards_s": shards / took,
                "images_s": shards * IMAGES / took,
                "linear": shards / size * seconds / took if seconds else None,
                "processor_ms": 1000 * processor / shards,
                "load": os.getloadavg()[0],
            }
        )
    ray.shutdown()
    return rows


def cost_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Extract the same scenes by this process, by one actor, and by this process again."""
    rows = _earlier(args.json) if args.json else []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = open_dataset("demo", root / "images", count=args.images)
        backbone = load_backbone(BackboneSpec(name="drawn-scenes-clip"))
        config = ExtractConfig(workers=args.decoding, shard_size=args.shard_size)
        one = ClusterConfig(actors=1, cpus_per_actor=1)
        outs = (root / str(number) for number in count())

        def here() -> float:
            moments: dict[str, float] = {}

            def note(event: Any) -> None:
                moments.setdefault(event.kind, time.monotonic())

            extract(dataset, next(outs), backbone, config, note)
            return float(args.images / (moments["finish"] - moments["start"]))

        def actor() -> float:
            engine = RayEngine(cluster=one)
            (rate,) = extract(dataset, next(outs), backbone, config, engine=engine).rates.values()
            return rate

        for _ in range(args.rounds):
            case = f"turn {len(rows) + 1}, {datetime.now(UTC):%H:%M}"
            before, by_actor, after = here(), actor(), here()
            plain = (before + after) / 2
            rows.append({"case": case, "plain": plain, "actor": by_actor})
            rows[-1] |= {"share": by_actor / plain, "load": os.getloadavg()[0]}
    middle = {name: median(row[name] for row in rows) for name in ("plain", "actor", "share")}
    return [*rows, {"case": MEDIAN, **middle, "load": None}]


def _earlier(path: Path) -> list[dict[str, Any]]:
    """Return the turns that a file holds already: they are taken at different times."""
    tables = figures.read(path)["tables"] if path.exists() else []
    for table in tables:
        if table["rows"][-1]["case"] == MEDIAN:
            return list(table["rows"][:-1])
    return []


def main() -> None:
    """Measure one thing, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    kinds = parser.add_subparsers(dest="kind", required=True)
    driver = kinds.add_parser("driver")
    driver.add_argument("--workers", type=int, nargs="+", default=[64, 512])
    driver.add_argument("--seconds", type=float, default=5.0)
    driver.add_argument("--rounds", type=int, default=8)
    driver.add_argument("--limit", type=int, default=4096)
    actors = kinds.add_parser("actors")
    actors.add_argument("--workers", type=int, nargs="+", default=[8, 32])
    actors.add_argument("--seconds", type=float, default=2.0)
    actors.add_argument("--rounds", type=int, default=8)
    actors.add_argument("--limit", type=int, default=1000)
    cost = kinds.add_parser("cost")
    cost.add_argument("--images", type=int, default=512)
    cost.add_argument("--shard-size", type=int, default=128)
    cost.add_argument("--decoding", type=int, default=2)
    cost.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    if args.kind == "cost":
        rows = cost_rows(args)
        columns = [["case", "drawn scenes", ""]]
        columns += [["plain", "this process, images/s", ".1f"]]
        columns += [["actor", "one actor, images/s", ".1f"], ["share", "of this process", ".3f"]]
        columns += [["load", "load of the machine", ".0f"]]
    else:
        rows = driver_rows(args) if args.kind == "driver" else actor_rows(args)
        columns = [["case", "virtual workers" if args.kind == "driver" else "actors of Ray", ""]]
        columns += [["shards_s", "shards/s", ",.0f"], ["images_s", "images/s", ",.0f"]]
        columns += [["linear", "of linear", ".3f"]]
        columns += [["processor_ms", "driver's processor time, ms a shard", ".2f"]]
        columns += [["load", "load of the machine", ".0f"]]
    for row in rows:
        print(row)
    if args.json:
        figures.add(args.json, {"columns": columns, "rows": rows}, "ray", "torch")


if __name__ == "__main__":
    main()
