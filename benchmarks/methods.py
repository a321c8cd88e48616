"""Every method on one query of a cache, with mean and spread over seeds, as a Markdown table.

    featcache extract --dataset demo --root scenes --option count=600 --out cache/scenes
    python benchmarks/methods.py --shards cache/scenes \
      --query "sort images by the number of objects in the shape of a cube."

``--unaligned-text`` is for a backbone whose text tower is random: it leaves out what compares an
image with words that it should know already. ``--only`` runs some rows. Each fit is kept below
``--out`` and is not done again, so a stopped run goes on and another query is another table.

All methods have their defaults but for what stands in ``ROWS``: fewer steps, and the rates that
suit them, so that some hundreds of images take half an hour of one core; ``--shorter 2`` takes
half of the steps. ``--json FILE`` keeps every number.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from adapter.evaluation.metrics import mean_and_spread
from adapter.methods.fitted import Fitted, fit_method, is_fitted
from adapter.network.config import AdapterConfig
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
from featcache.reading.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.evaluation.metrics import Metrics

METRICS = ("srcc", "plcc", "mae")
HEADER = ("SRCC", "PLCC", "MAE")


@dataclass(frozen=True)
class Row:
    """One line: a method, what is changed of it, and whether it has a meaning without words.

    Attributes:
        key: For files and ``--only``.
        title: In print.
        method: Its name.
        settings: What is not the default.
        knows_words: It rests on a text tower that knows what the words mean.
    """

    key: str
    title: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    knows_words: bool = True


def tmcr(key: str, title: str, **changes: Any) -> Row:
    """Return a form of TMCR, small."""
    small = {"width": 256, "encoder_steps": 300, "epochs": 30, "lr": 2e-3}
    return Row(
        key,
        f"TMCR on frozen features, {title}",
        "tmcr-frozen",
        small | changes,
        knows_words=changes.get("parts") != "contrast",
    )


TRAIN = TrainConfig(
    steps=600, sampling=SamplingConfig(batch_size=32), optim=OptimConfig(lr=1e-3), device="cpu"
)
NARROW = AdapterConfig.released(width=128).replace(blocks=1, post_blocks=0, prompt_tokens=4)
STEPS = 400

ROWS = (
    Row("zero-shot", "CLIP, zero-shot", "zero-shot"),
    Row("clip-iqa", "CLIP-IQA", "clip-iqa"),
    Row("iqa-released", "CLIP-IQA+, `released`", "clip-iqa-plus", {"steps": 2 * STEPS}),
    Row(
        "iqa-improved",
        "CLIP-IQA+, `improved`",
        "clip-iqa-plus",
        {"steps": 2 * STEPS, "recipe": "improved"},
    ),
    Row("coop", "CoOp", "coop", {"steps": STEPS, "lr": 0.05}),
    Row("coop-printed", "CoOp, as printed", "coop-printed", {"steps": STEPS, "lr": 0.02}),
    Row("ordinal-clip", "OrdinalCLIP", "ordinal-clip", {"steps": STEPS, "lr": 0.02}),
    Row(
        "l2rclip-token",
        "L2RCLIP, attention over tokens",
        "l2rclip",
        {"steps": STEPS, "lr": 5e-3, "hidden": 256},
        knows_words=False,
    ),
    Row(
        "l2rclip-rank",
        "L2RCLIP, attention over ranks",
        "l2rclip",
        {"steps": STEPS, "lr": 5e-3, "hidden": 256, "axis": "rank"},
        knows_words=False,
    ),
    Row("numclip", "NumCLIP", "numclip", {"steps": STEPS, "lr": 5e-3}, knows_words=False),
    Row(
        "clip-tuned",
        "CLIP, tuned",
        "clip-tuned",
        {"steps": 2 * STEPS, "lr": 5e-3},
        knows_words=False,
    ),
    Row("countingclip", "CountingCLIP", "countingclip", {"steps": 2 * STEPS, "lr": 5e-3}),
    tmcr("tmcr", "LP"),
    tmcr("tmcr-ft", "FT", finetune=True),
    tmcr("tmcr-tags", "tags alone", parts="tags"),
    tmcr("tmcr-contrast", "contrast alone, LP", parts="contrast"),
    tmcr("tmcr-contrast-ft", "contrast alone, FT", parts="contrast", finetune=True),
    Row("softmax", "Softmax regression", "softmax", knows_words=False),
    Row("ridge", "Ridge regression", "ridge", knows_words=False),
    Row(
        "adapter",
        "Ranking-aware adapter",
        "adapter",
        {"model": NARROW, "train": TRAIN},
        knows_words=False,
    ),
)


def shortened(settings: Mapping[str, Any], divisor: int) -> dict[str, Any]:
    """Return a row's settings with fewer steps."""
    found = dict(settings)
    for name in {"steps", "encoder_steps", "epochs"} & found.keys():
        found[name] = math.ceil(found[name] / divisor)
    if "train" in found:
        found["train"] = found["train"].replace(steps=math.ceil(found["train"].steps / divisor))
    return found


def measured(row: Row, cache: Cache, query: str, seed: int, out: Path, scale: Any) -> Metrics:
    """Fit, unless it was done before, and measure on the test part."""
    folder = out / f"{row.key}-{seed}"
    if not is_fitted(folder):
        started = time.monotonic()
        fit_method(row.method, cache, query, folder, settings=row.settings, seed=seed, scale=scale)
        print(f"{row.title}, seed {seed}: {time.monotonic() - started:.1f} s", flush=True)
    return Fitted.load(folder).evaluate(cache).metrics


def line(title: str, found: list[Metrics]) -> str:
    """Return a row of the table: mean, and spread where seeds differ."""
    cells = []
    for name in METRICS:
        mean, spread, _ = mean_and_spread(getattr(metrics, name) for metrics in found)
        cells.append(f"{mean:.3f} ± {spread:.3f}" if spread > 5e-4 else f"{mean:.3f}")
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """Run all rows, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--query", required=True)
    parser.add_argument("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=[row.key for row in ROWS])
    parser.add_argument("--shorter", type=int, default=1, metavar="N")
    parser.add_argument("--unaligned-text", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cache = Cache.open(arguments.shards)
    about = f"{arguments.query}{arguments.scale}{arguments.shorter}".encode()
    out = arguments.out / f"{cache.name}-{xxhash.xxh32_hexdigest(about)}"
    lines = [f"| method | {' | '.join(HEADER)} |", "|---|" + "---:|" * len(HEADER)]
    numbers: list[dict[str, Any]] = []
    for row in (replace(row, settings=shortened(row.settings, arguments.shorter)) for row in ROWS):
        if arguments.only and row.key not in arguments.only:
            continue
        if arguments.unaligned_text and row.knows_words:
            continue
        found = [
            measured(row, cache, arguments.query, seed, out, arguments.scale)
            for seed in range(arguments.seeds)
        ]
        lines.append(line(row.title, found))
        numbers += [
            {
                "method": row.title,
                "seed": seed,
                **{name: getattr(metrics, name) for name in METRICS},
            }
            for seed, metrics in enumerate(found)
        ]
        if arguments.json:
            arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
