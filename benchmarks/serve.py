"""How long the page waits when a slider moves: requests through the whole application.

    python benchmarks/serve.py --photos 10000 --photos 100000

Builds a library of random pooled embeddings in memory and three wishes with random scores. Asks for
the order, for the details of a screen, and for the order with near-duplicates folded.
Medians of 20 requests; the browser's own work comes on top.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import figures
import numpy as np
import pyarrow as pa
from starlette.testclient import TestClient

from adapter.serve.answers import AnswerBook
from adapter.serve.app import make_app
from adapter.serve.engine import Engine
from adapter.serve.journal import Journal
from adapter.serve.library import Library
from adapter.serve.marks import MarkBook
from adapter.serve.security import Address
from adapter.serve.session import Session
from adapter.serve.teacher import Teacher

ROUNDS = 20


class MadeCache:
    """What the page reads of a cache, without one."""

    def __init__(self, count: int) -> None:
        names = [f"{n // 500:04d}/IMG_{n:06d}.jpg" for n in range(count)]
        self.sample_ids = pa.array(names)
        self._samples = pa.table(
            {"path": names, "status": ["ok"] * count, "sha256": [f"{n:064x}" for n in range(count)]}
        )
        generator = np.random.default_rng(0)
        self._pooled = generator.normal(size=(count, 512)).astype(np.float32)
        self.shapes = SimpleNamespace(num_tokens=0)
        self.name = "made"

    def __len__(self) -> int:
        return len(self._pooled)

    def read_samples(self, *columns: str) -> pa.Table:
        """Return columns of the table."""
        return self._samples.select(list(columns))

    def pooled(self, rows: np.ndarray) -> np.ndarray:
        """Return embeddings."""
        return self._pooled[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for count in options.photos or [10_000]:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(count, Path(folder)))
    columns = [
        ("case", "requests", ""),
        ("order", "order by percentiles, ms", ".0f"),
        ("product", "by product of scores, ms", ".0f"),
        ("folded", "near-duplicates folded, ms", ".0f"),
        ("details", "what stands under 60 photos, ms", ".0f"),
        ("groups", "finding near-duplicates, once, s", ".1f"),
    ]
    figures.show({"columns": columns, "rows": rows}, options.json, "numpy", "fastapi")


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Return the times for a number of photos."""
    cache = cast("Any", MadeCache(count))
    library = Library(cache=cache, root=None, thumbnails=folder)
    engine = Engine(library, {})
    teacher = Teacher(engine, AnswerBook(Journal(folder / "a.jsonl")), folder / "head")
    marks = MarkBook(Journal(folder / "m.jsonl"))
    session = Session(library, engine, marks, teacher, folder, [])
    generator = np.random.default_rng(1)
    for number in range(3):
        engine.put(f"wish {number}", "taste", generator.normal(size=count), "")
    client = TestClient(
        make_app(session, Address.of("127.0.0.1", 8000)),
        base_url="http://127.0.0.1:8000",
        headers={"origin": "http://127.0.0.1:8000"},
    )

    def order(**more: Any) -> dict[str, Any]:
        weights = generator.uniform(-1, 1, 3).tolist()
        found = [{"wish": n + 1, "weight": w} for n, w in enumerate(weights)]
        return {"weights": found, **more}

    def timed(path: str, make: Any) -> float:
        times = []
        for _ in range(ROUNDS):
            body = make()
            start = time.perf_counter()
            answer = client.post(path, json=body)
            json.loads(answer.content)
            times.append(time.perf_counter() - start)
            assert answer.status_code == 200, answer.text
        return 1000 * statistics.median(times)

    client.post("/api/details", json={"rows": [0]})  # paths are read once
    start = time.perf_counter()
    client.post("/api/order", json=order(fold=0.95))
    first = time.perf_counter() - start
    details = {"rows": list(range(60)), "order": order()}
    return {
        "case": f"{count:,} photos, 3 wishes",
        "order": timed("/api/order", order),
        "product": timed("/api/order", lambda: order(form="product")),
        "folded": timed("/api/order", lambda: order(fold=0.95)),
        "details": timed("/api/details", lambda: details),
        "groups": first,
    }


if __name__ == "__main__":
    main()
