"""How large cache.json is with many shards, and what reading and writing it costs.

    python benchmarks/manifest.py --json docs/benchmarks/manifest.json

Processor time is told, which does not depend on what else the machine does. 100,000 shards of 512
images are 51 million images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import figures

from featcache.storage.entries import FileEntry
from featcache.storage.fingerprint import Fingerprint
from featcache.storage.layout import MANIFEST, Shapes, shard_name
from featcache.storage.manifest import Manifest


def made_up(shards: int) -> Manifest:
    """Return the manifest of a cache of so many shards."""
    backbone = {"architecture": "convnext_large_d_320", "weights": "0" * 64, "token_pool": 1}
    manifest = Manifest(
        dataset={"name": "folder", "options": {}},
        fingerprint=Fingerprint(
            backbone=backbone, preprocessing={"size": 320}, views=("original",), dtype="float16"
        ),
        shapes=Shapes(
            num_tokens=100, token_dim=768, pooled_dim=768, context_length=77, text_dim=768
        ),
        shard_size=512,
        backbone={"name": "convnext_large_d_320"},
        provenance={"batch_size": 32},
    )
    names = map(shard_name, range(shards))
    entry = FileEntry(bytes=80_500_000, xxh3_128="0123456789abcdef" * 2, rows=512)
    return manifest.with_files(dict.fromkeys(names, entry))


def measure(shards: int) -> dict[str, Any]:
    """Write and read one, three times; return the best."""
    manifest = made_up(shards)
    written, read = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            start = time.process_time()
            manifest.write(Path(folder))
            written.append(time.process_time() - start)
            start = time.process_time()
            Manifest.read(Path(folder))
            read.append(time.process_time() - start)
        size = (Path(folder) / MANIFEST).stat().st_size
    return {
        "case": f"{shards:,} shards, {512 * shards / 1e6:.0f} million images",
        "megabytes": size / 1e6,
        "write": min(written),
        "read": min(read),
    }


def main() -> None:
    """Measure some sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    columns = [
        ("case", "cache.json", ""),
        ("megabytes", "MB", ".1f"),
        ("write", "processor s to write", ".2f"),
        ("read", "to read and check", ".2f"),
    ]
    table = {"columns": columns, "rows": [measure(shards) for shards in given.shards]}
    figures.show(table, given.json, "featcache")


if __name__ == "__main__":
    main()
