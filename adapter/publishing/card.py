"""The model card of a run: a README.md with the header that model hubs read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from featcache.datasets import info as dataset_info
from featcache.datasets.stand_in import NOTICE
from featcache.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.stored import StoredRun

Z = 1.959964  # of the normal distribution: an interval that holds the truth 95 times in 100
ABOUT_INTERVALS = (
    "SRCC and PLCC are per query; the interval is that of 95 %, by Fisher's transformation with "
    "Fieller's variance 1.06 / (n - 3): what other images of the same kind would change. It says "
    "nothing of images of another kind."
)
WHAT = (
    "A ranking-aware adapter on frozen features "
    "([Yu et al., ICLR 2025](https://arxiv.org/abs/2412.06760)), trained with featcache."
)


def interval(correlation: float, n: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a rank correlation; None for fewer than four images.

    Source: Fieller, Hartley and Pearson, "Tests for rank correlation coefficients", 1957.

    Args:
        correlation: Spearman's, from -1 to 1.
        n: How many images it is over.
    """
    if n < 4:
        return None
    middle = math.atanh(max(min(correlation, 0.999999), -0.999999))
    half = Z * math.sqrt(1.06 / (n - 3))
    return math.tanh(middle - half), math.tanh(middle + half)


def model_card(run: StoredRun, evaluation: Mapping[str, Any] | None, place: str) -> str:
    """Write the model card of a run, in Markdown.

    Args:
        run: The run.
        evaluation: What `adapter eval` has written; None where nobody has evaluated it.
        place: Where it is published, for the command that ranks with it.
    """
    record = run.record
    fingerprint = run.fingerprint.to_dict() if run.fingerprint else {}
    backbone = fingerprint.get("backbone", {})
    names = list(dict.fromkeys(shard["dataset"] for shard in record["shards"]))
    licenses = {name: _license(name) for name in names}
    lines = [
        *_header(names, backbone),
        f"# Ranks images by {_some(run.queries)}",
        "",
        *([f"**{NOTICE}**", ""] if run.stand_in else []),
        WHAT,
        "",
        "## Rank your own photos",
        "",
        f'    adapter rank {place} --images holiday --query "{_first(run)}" --out ranked.html',
        "",
        "## What it was trained on",
        "",
        *(f"- {name}: {text}" for name, text in licenses.items()),
        "",
        "These are the licenses of the training data. If you use this adapter, follow them.",
        "",
        "## What it reads",
        "",
        (
            f"- backbone: {backbone.get('architecture', 'not known')}, weights SHA-256 "
            f"`{backbone.get('weights', 'not known')}`"
        ),
        f"- digest of the features: `{run.fingerprint.digest if run.fingerprint else 'not known'}`",
        "- other features are refused",
        "",
        "## What it reaches",
        "",
        *_results(evaluation),
        "## How it was trained",
        "",
        "`run.json` has every setting; "
        + ", ".join(f"{name} {number}" for name, number in record.get("versions", {}).items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _header(datasets: list[str], backbone: Mapping[str, Any]) -> list[str]:
    """Return the metadata that hubs read, in YAML."""
    return [
        "---",
        "library_name: featcache",
        "pipeline_tag: image-classification",
        "license: other",
        "license_name: that-of-the-training-data",
        "tags: [image-ranking, clip, adapter]",
        "datasets:",
        *(f"  - {_yaml(name)}" for name in datasets),
        f"base_model: {_yaml(str(backbone.get('architecture', 'unknown')))}",
        "---",
        "",
    ]


def _results(evaluation: Mapping[str, Any] | None) -> list[str]:
    """Return the table of metrics, each with its number of images and its interval."""
    if evaluation is None:
        return ["Not evaluated. `adapter eval RUN` does, before it is published.", ""]
    lines = [
        f"On the split {', '.join(evaluation['split'])}.",
        "",
        "| data set | query | by | n | SRCC | 95 % | PLCC |",
        "|---|---|---|---:|---:|---|---:|",
    ]
    for query in evaluation["queries"]:
        for by, metrics in query["metrics"].items():
            n, srcc = query["n"], metrics.get("srcc")
            between = interval(srcc, n) if srcc is not None else None
            cells = [query["dataset"], query["query"], by, f"{n:,}", _number(srcc)]
            cells.append(f"{between[0]:.3f} to {between[1]:.3f}" if between else "–")
            cells.append(_number(metrics.get("plcc")))
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return [*lines, "", ABOUT_INTERVALS, ""]


def _license(name: str) -> str:
    try:
        info = dataset_info(name)
    except DatasetError:
        return "not one of featcache's data sets; its license is not known here"
    return f"{info.title}. {info.license}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _first(run: StoredRun) -> str:
    return run.queries[0].replace('"', '\\"') if run.queries else "QUERY"


def _some(queries: tuple[str, ...], limit: int = 3) -> str:
    """Name the first queries."""
    if not queries:
        return "a text query"
    shown = ", ".join(f"“{query}”" for query in queries[:limit])
    return shown + (f" and {len(queries) - limit} more" if len(queries) > limit else "")


def _yaml(text: str) -> str:
    """Quote a text for YAML, of which JSON is a part."""
    import json

    return json.dumps(text, ensure_ascii=False)
