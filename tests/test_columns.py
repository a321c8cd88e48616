"""No table of a cache or a data set becomes Python objects as a whole: rows stay in columns.

Each place that makes Python objects of a column is listed here with the reason why it is small.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLS = re.compile(r"\.(?:to_pylist|to_pydict|to_pandas)\(")

SMALL = {
    "featcache/datasets/columns.py": (2, "batches, for whoever asks for records"),
    "featcache/extraction/counting.py": (1, "images that failed"),
    "featcache/maintenance/export.py": (2, "the images of one shard, and their labels"),
    "featcache/maintenance/held.py": (1, "what a damaged cache held, to repair it"),
    "featcache/maintenance/verify.py": (1, "a block of images that are read"),
    "featcache/reading/card.py": (1, "one row per query"),
    "featcache/storage/tables.py": (1, "the table of a damaged cache, to repair it"),
    "featcache/torch.py": (1, "distinct names"),
    "adapter/data/comparisons.py": (1, "the cells of a user's table of comparisons"),
    "adapter/data/labels.py": (2, "distinct tasks, queries, splits and folds, and their counts"),
    "adapter/data/selectors.py": (1, "distinct names"),
    "adapter/evaluation/ranking.py": (3, "a ranking's output; images that failed"),
    "adapter/pages/build.py": (1, "the images of a page's query"),
    "adapter/reproduction/resplit.py": (2, "the images that a study divides anew"),
    "adapter/serve/library.py": (3, "names of the photos that one person looks at"),
    "adapter/training/prepare.py": (1, "distinct splits"),
    "cli/caches.py": (2, "one row per query; images that failed"),
}


def test_no_whole_table_becomes_python_objects():
    found = {}
    for package in ("featcache", "adapter", "cli"):
        for file in (ROOT / package).rglob("*.py"):
            if calls := len(CALLS.findall(file.read_text("utf-8"))):
                found[file.relative_to(ROOT).as_posix()] = calls
    assert found == {file: calls for file, (calls, _) in SMALL.items()}
