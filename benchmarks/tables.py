"""Large tables: from a Parquet file to the plan of an extraction, and choosing labels for training.

    python benchmarks/tables.py                    # make bench-tables
    python benchmarks/tables.py --case million     # one of million, ten-million, labels
    python benchmarks/tables.py --json FILE

Each case runs in a process of its own, which reports the time of the work and the process's peak
memory; making the input is not measured. The time that is judged is the smaller of wall time and
processor time: other work on the machine makes the first longer, threads the second. Ends with
exit code 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adapter.data.labels import select_labels
from featcache.datasets import open_dataset
from featcache.datasets.columns import LABELS_SCHEMA, places
from featcache.extraction.plan import checked_images, split_chunks
from featcache.storage.tables import queries_of, read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHARD = 512  # images per shard, as `featcache extract` has it by default
# Case: what it does, rows, seconds, GB.
CASES = {
    "million": ("Parquet to a plan", 1_000_000, 5.0, 1.0),
    "ten-million": ("Parquet to a plan", 10_000_000, 60.0, 4.0),
    "labels": ("choosing labels", 5_000_000, 3.0, 4.0),
}
IMAGES = 1_000_000  # of the labels
COLUMNS = [
    ("case", "case", ""),
    ("what", "what", ""),
    ("rows", "rows", ",d"),
    ("processor_s", "processor, s", ".1f"),
    ("limit_s", "limit, s", ".0f"),
    ("peak_gb", "peak memory, GB", ".2f"),
    ("limit_gb", "limit, GB", ".0f"),
    ("wall_s", "wall, s", ".1f"),
    ("load", "load of the machine", ".0f"),
]


def make_table(file: Path, rows: int) -> None:
    """Write a table of photos, each with one label of two queries."""
    with pq.ParquetWriter(file, _table(0, 1).schema) as writer:
        for start in range(0, rows, 1_000_000):
            writer.write_table(_table(start, min(start + 1_000_000, rows)))


def _table(start: int, stop: int) -> pa.Table:
    number = np.arange(start, stop)
    texts = pa.array([f"{n // 10_000:05d}/photo_{n:09d}.jpg" for n in range(start, stop)])
    queries = pa.array(["sort images by the number of dogs.", "sort images by quality."])
    split = pa.array(["train", "test"]).take((number % 5 == 0).astype(int))
    value = (number * 7919 % 100) / 10
    return pa.table(
        {"path": texts, "query": queries.take(number % 2), "value": value, "split": split}
    )


def plan(file: Path, start: Callable[[], None]) -> dict[str, int]:
    """List images and labels, check them, and cut them into shards, as an extraction does."""
    start()
    dataset = open_dataset("table", file.parent, table=str(file))
    images = checked_images(dataset.images())
    labels = dataset.labels_table()
    chunks = split_chunks(images, SHARD)
    assert sum(map(len, chunks.values())) == labels.num_rows
    return {"images": len(images), "labels": labels.num_rows, "queries": len(queries_of(labels))}


class Tables:
    """The two tables of a cache: what `select_labels` reads."""

    dataset = "tables"

    def __init__(self, labels: pa.Table, sample_ids: pa.Array[Any]) -> None:
        self.coded_labels = labels
        self.sample_ids = sample_ids

    def __len__(self) -> int:
        return len(self.sample_ids)

    def rows(self, sample_ids: pa.ChunkedArray[Any]) -> NDArray[np.int64]:
        """Find images, as `featcache.Cache.rows` does."""
        return places(sample_ids, self.sample_ids)


def make_labels(file: Path, rows: int) -> None:
    """Write labels.parquet: several of 80 counts for each image."""
    number = np.arange(rows)
    image = number % IMAGES
    queries = pa.array([f"sort images by the number of thing {n}." for n in range(80)])
    columns = [
        _ids().take(image),
        pa.array(["count"]).take(np.zeros(rows, int)),
        queries.take(number // IMAGES * 16 + number % 16),
        pa.array(number % 7, pa.float64()),
        pa.array(["train", "test"]).take((image % 5 == 0).astype(int)),
        pa.nulls(rows, pa.int32()),
        pa.nulls(rows, LABELS_SCHEMA.field("distribution").type),
    ]
    write_table(file, pa.table(columns, schema=LABELS_SCHEMA))


def _ids() -> pa.Array[Any]:
    return pa.array([f"images/{n:08d}.jpg" for n in range(IMAGES)])


def choose(file: Path, start: Callable[[], None]) -> dict[str, int]:
    """Choose the labels for training of every query."""
    cache: Any = Tables(read_table(file, LABELS_SCHEMA, coded=True), _ids())
    start()
    selection = select_labels(cache, split="train")
    return {
        "queries": len(selection.queries),
        "labels": sum(len(query.rows) for query in selection.queries),
    }


def measure(case: str, file: Path) -> dict[str, Any]:
    """Run a case in this process."""
    begun = [0.0, 0.0]

    def start() -> None:
        begun[:] = time.perf_counter(), time.process_time()

    found = (choose if case == "labels" else plan)(file, start)
    wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"wall_s": wall, "processor_s": processor, "peak_gb": peak, **found}


def run(case: str, folder: Path) -> dict[str, Any]:
    """Make a case's input and run it in a process of its own."""
    what, rows, seconds, memory = CASES[case]
    file = folder / f"{case}.parquet"
    (make_labels if case == "labels" else make_table)(file, rows)
    command = [sys.executable, __file__, "--case", case, "--file", str(file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    taken = min(result["wall_s"], result["processor_s"])
    return {
        "case": case,
        "what": what,
        "rows": rows,
        "seconds": taken,
        "limit_s": seconds,
        "limit_gb": memory,
        "load": os.getloadavg()[0],
        "ok": taken < seconds and result["peak_gb"] < memory,
        **result,
    }


def main() -> int:
    """Run the cases that were asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        print(json.dumps(measure(arguments.case, arguments.file)))
        return 0
    results = []
    print("case         rows        wall s  processor s  limit s  peak GB  limit GB  load")
    for case in [arguments.case] if arguments.case else CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = run(case, Path(folder))
        print(
            f"{case:<12} {found['rows']:>10,} {found['wall_s']:>8.1f} "
            f"{found['processor_s']:>12.1f} {found['limit_s']:>8.0f} {found['peak_gb']:>8.2f} "
            f"{found['limit_gb']:>9.0f} "
            f"{found['load']:>5.1f}{'' if found['ok'] else '   LIMIT BROKEN'}",
            flush=True,
        )
        results.append(found)
    if arguments.json:
        figures.write(arguments.json, [{"columns": COLUMNS, "rows": results}], "pyarrow", "numpy")
    return 0 if all(result["ok"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
