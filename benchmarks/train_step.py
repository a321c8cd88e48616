"""A training step fed from a cache, against the same step on batches already in memory.

    python benchmarks/train_step.py                        # P=100, C=768, width 256, bf16
    python benchmarks/train_step.py --width 768 --steps 8
    python benchmarks/train_step.py --device cuda --width 768 --steps 200

Writes a cache of random features into a temporary folder (``--images`` of them, two views), reads
it once so that it is warm, and runs the real training step. ``memory`` steps on batches that were
gathered before the clock started; every source prepares its batches while the clock runs, as in
training. Rounds alternate between the sources, so that a slow minute hits all of them; times are
medians over rounds, and a ratio is the median of each round's ratio to ``memory``. The last column
is what preparing one batch takes by itself: drawing it, gathering its tokens, sending it.

Run it on an idle machine. On a CPU that other programs share, the compute threads spin while they
wait for each other and drown the difference; there, OMP_NUM_THREADS=1 or OMP_WAIT_POLICY=passive.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import figures
import numpy as np
import torch

from adapter.data.feed import Feed, open_source
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.settings import SamplingConfig, TrainConfig
from adapter.training.distributed import World
from adapter.training.environment import peak_memory
from adapter.training.prepare import prepare
from adapter.training.trainer import Trainer
from featcache.datasets.base import Label
from featcache.datasets.columns import labels_of
from featcache.devices import pick_device
from featcache.extraction.finish import complete
from featcache.reading.cache import Cache
from featcache.storage.entries import FileEntry
from featcache.storage.fingerprint import Fingerprint
from featcache.storage.layout import LABELS, SAMPLES, SHARDS, VIEWS, Shapes, shard_name
from featcache.storage.manifest import Manifest
from featcache.storage.prompts import Prompt, write_prompts
from featcache.storage.records import SampleRecord
from featcache.storage.shard import ShardContent, write_shard
from featcache.storage.tables import samples_table, write_table

QUERY = "sort images by the person's age."
STEPS = 144_000  # of the paper, for all tasks but counting


def write_cache(folder: Path, images: int, shapes: Shapes, shard_size: int = 256) -> None:
    """Write a cache of random features with one query."""
    generator = np.random.default_rng(0)
    fingerprint = Fingerprint(
        backbone={"architecture": "random numbers", "weights": "none"},
        preprocessing={},
        views=VIEWS,
        dtype="float16",
    )
    (folder / SHARDS).mkdir(parents=True)
    names = [f"{i:07d}" for i in range(images)]
    records = [SampleRecord(sample_id=n, path=n, status="ok") for n in names]
    chunks = [records[i : i + shard_size] for i in range(0, images, shard_size)]
    for number, chunk in enumerate(chunks):
        shape = (len(chunk), len(VIEWS), shapes.num_tokens, shapes.token_dim)
        content = ShardContent(
            records=chunk,
            tokens=generator.standard_normal(shape, np.float32).astype(np.float16),
            pooled=np.zeros((len(chunk), len(VIEWS), shapes.pooled_dim), np.float32),
        )
        path = folder / shard_name(number)
        write_shard(path, content, index=number, fingerprint=fingerprint.digest)
    write_table(folder / SAMPLES, samples_table(enumerate(chunks)))
    labels = [Label(n, "age", QUERY, float(generator.integers(1, 90)), "train") for n in names]
    write_table(folder / LABELS, labels_of(labels))
    tokens = generator.standard_normal((shapes.context_length, shapes.text_dim), np.float32)
    prompt = Prompt(tokens=tokens, pooled=np.zeros(shapes.pooled_dim, np.float32))
    write_prompts(folder, {QUERY: prompt}, fingerprint)
    manifest = Manifest(
        dataset={"name": "random", "options": {}},
        fingerprint=fingerprint,
        shapes=shapes,
        shard_size=shard_size,
        backbone={},
        provenance={},
    )
    shards = {
        shard_name(n): FileEntry.of(folder / shard_name(n), rows=len(chunk))
        for n, chunk in enumerate(chunks)
    }
    complete(folder, manifest, shards)


class Timer:
    """Times the real training step on one device, from several sources."""

    def __init__(self, cache: Cache, args: argparse.Namespace, out: Path) -> None:
        self.device = pick_device(args.device)
        self.steps: int = args.steps
        config = TrainConfig(
            steps=10**6,
            device=args.device,
            precision=args.precision,
            compile=args.compile,
            sampling=SamplingConfig(batch_size=args.batch),
        )
        world = World(0, 1, self.device)
        model = AdapterConfig.released(width=args.width)
        self.run = prepare([cache], model, LossConfig(), config, self.device)
        self.trainer = Trainer(self.run, out, world, None)
        self.trainer.model.train()
        self.feeds: dict[str, Feed] = {}
        rows, views = self.run.sampler.image_rows(0), self.run.sampler.view_indices(0)
        for kind in ("disk", "ram", "device"):
            _, source = open_source(kind, cache, rows, views, self.device, reads=10**9)
            self.feeds[kind] = Feed(
                [cache], self.run.sampler, self.run.scales, [source], self.device
            )
        self.ready = list(self.feeds["disk"].batches(0, self.steps))

    def seconds(self, source: str) -> float:
        """Time one round: seconds per step."""
        self._synchronize()
        started = time.perf_counter()
        batches = (
            iter(self.ready) if source == "memory" else self.feeds[source].batches(0, self.steps)
        )
        for batch in batches:
            self.trainer._step(batch)
        self.trainer._pending.clear()
        self._synchronize()
        elapsed = time.perf_counter() - started
        return elapsed / self.steps

    def gather_seconds(self, source: str) -> float:
        """Time one batch's way to the device alone, with nothing beside it."""
        self._synchronize()
        started = time.perf_counter()
        for step in range(20):
            self.feeds[source]._build(step)
        self._synchronize()
        return (time.perf_counter() - started) / 20

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10, help="steps per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    shapes = Shapes(
        num_tokens=args.patches,
        token_dim=args.channels,
        pooled_dim=args.channels,
        context_length=77,
        text_dim=args.channels,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_cache(Path(folder) / "cache", args.images, shapes)
        cache = Cache.open(Path(folder) / "cache")
        timer = Timer(cache, args, Path(folder))
        sources = ("memory", *timer.feeds)
        for source in sources:  # warm up
            timer.seconds(source)
        rounds = [{s: timer.seconds(s) for s in sources} for _ in range(args.rounds)]
        about = (
            f"{timer.device}, {torch.get_num_threads()} threads, {args.precision}, batch "
            f"{args.batch}, {args.patches} x {args.channels}, width {args.width}"
            + (", compiled" if args.compile else "")
        )
        rows = []
        for source in sources:
            ratios = [r[source] / r["memory"] for r in rounds]
            seconds = statistics.median(r[source] for r in rounds)
            rows.append(
                {
                    "case": f"{source}, {about}",
                    "ms": 1000 * seconds,
                    "ratio": statistics.median(ratios),
                    "least": min(ratios),
                    "most": max(ratios),
                    "gather": None if source == "memory" else 1000 * timer.gather_seconds(source),
                    "minutes": seconds * STEPS / 60,
                    "gib": peak_memory(timer.device) / 2**30,
                }
            )
    columns = [
        ("case", "tokens from", ""),
        ("ms", "ms a step", ".2f"),
        ("ratio", "to a batch in memory", ".3f"),
        ("least", "lowest", ".3f"),
        ("most", "highest", ".3f"),
        ("gather", "ms to gather", ".2f"),
        ("minutes", f"{STEPS:,} steps at this rate, min", ".0f"),
        ("gib", "peak memory, GiB", ".1f"),
    ]
    figures.show({"columns": columns, "rows": rows}, args.json, "torch")


if __name__ == "__main__":
    main()
