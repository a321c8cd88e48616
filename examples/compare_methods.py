"""Several methods on one cache, side by side.

python examples/compare_methods.py [--images 200] [--folder compare_methods]
"""

import argparse
from pathlib import Path

from scipy.stats import spearmanr

from adapter import methods
from featcache import BackboneSpec, Cache, ExtractConfig, extract, load_backbone, open_dataset

QUERY = "sort images by the image quality of brightness."
NAMES = ("ridge", "zero-shot", "clip-iqa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("compare_methods"))
    options = parser.parse_args()

    dataset = open_dataset("demo", options.folder / "images", count=options.images)
    backbone = load_backbone(BackboneSpec(name="drawn-scenes-clip"), device="cpu")
    extract(dataset, options.folder / "cache", backbone, ExtractConfig())

    cache = Cache.open(options.folder / "cache")
    # The labels of one query, the words for its classes, and a pair of opposite prompts.
    data = methods.fold_of(cache, QUERY, antonyms=("Bright photo.", "Dark photo."))
    for name in NAMES:
        predictor = methods.get(name).fit(data)
        predicted = predictor.predict(data.vectors, data.test.rows)
        print(f"{name:10} SRCC {spearmanr(predicted.values, data.test.values)[0]:.3f}")


if __name__ == "__main__":
    main()
