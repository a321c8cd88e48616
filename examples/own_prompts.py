"""Which pair of opposite prompts works best? They need no training, so try several.

python examples/own_prompts.py [--images 100] [--folder own_prompts]
"""

import argparse
from pathlib import Path

from scipy.stats import spearmanr

from adapter import methods
from featcache import BackboneSpec, Cache, ExtractConfig, extract, load_backbone, open_dataset

QUERY = "sort images by the image quality of brightness."
PAIRS = [
    ("Bright photo.", "Dark photo."),
    ("a bright picture", "a dark picture"),
    ("very bright", "very dark"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("own_prompts"))
    options = parser.parse_args()

    # Pooled embeddings are enough here, so the cache holds no patch tokens.
    dataset = open_dataset("demo", options.folder / "images", count=options.images)
    backbone = load_backbone(BackboneSpec(name="drawn-scenes-clip", tokens="none"), device="cpu")
    extract(dataset, options.folder / "cache", backbone, ExtractConfig())

    cache = Cache.open(options.folder / "cache")
    for pair in PAIRS:
        data = methods.fold_of(cache, QUERY, antonyms=pair)
        scores = methods.get("clip-iqa").fit(data).predict(data.vectors, data.test.rows).values
        print(f"{spearmanr(scores, data.test.values)[0]:6.3f}  {pair[0]!r} against {pair[1]!r}")


if __name__ == "__main__":
    main()
