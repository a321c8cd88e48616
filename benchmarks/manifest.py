"""How large cache.json is with many shards, and what reading and writing it costs.

    python benchmarks/manifest.py --shards 100000

Processor time is told, which does not depend on what else the machine does. 100,000 shards of 512
images are 51 million images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Write and read one, three times; tell the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=100_000)
    manifest = made_up(parser.parse_args().shards)
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
    print(f"{size / 1e6:.1f} MB, written in {min(written):.2f} s, read in {min(read):.2f} s")


if __name__ == "__main__":
    main()
