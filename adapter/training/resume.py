"""Going on with a run: with the same caches and the same labels, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.data.identity import same_cache
from adapter.errors import CheckpointError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapter.data.targets import TargetScales

COUNTS = ("queries", "images", "labels", "left_out")


def require_same_data(
    record: Mapping[str, Any],
    caches: Sequence[Mapping[str, Any]],
    scales: TargetScales,
    folder: Path,
) -> None:
    """Refuse to go on with other caches, or with labels that were changed in between.

    A run of before 2026-11-28 says neither which cache it read nor a digest of its labels; then
    their counts and units decide.

    Args:
        record: What ``run.json`` says of the run when it was started.
        caches: The same of the caches now: ``Preparation.cache_records``.
        scales: Units of the labels now.
        folder: The run's folder.

    Raises:
        CheckpointError: They differ; each difference is named with both values.
    """
    before: list[Mapping[str, Any]] = record["shards"]
    found = [f"{len(before)} caches then, {len(caches)} now"] * (len(before) != len(caches))
    for number, (then, now) in enumerate(zip(before, caches, strict=False), start=1):
        found += [f"cache {number}: {line}" for line in _differences(then, now)]
    older = not all("labels_digest" in shard for shard in before)
    if older and not found:
        found += _older_differences(record, caches, scales)
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise CheckpointError(
            f"{folder} was started with other data:\n{lines}\n"
            "Resume with the same caches and labels, or train into a new folder. (`adapter eval` "
            "and `adapter rank` take any cache of the same features.)"
        )


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what tells two records of a cache apart."""
    known = then.get("identity") is not None
    if not same_cache(then, now) if known else then["dataset"] != now["dataset"]:
        return [f"{then['path']} ({_identity(then)}) then, {now['path']} ({_identity(now)}) now"]
    if then.get("labels_digest", now["labels_digest"]) != now["labels_digest"]:
        difference = (
            f"the labels of {now['path']} have changed: {then['labels']:,} of "
            f"{quantity(then['images'], 'image')} then (digest {then['labels_digest'][:12]}), "
            f"{now['labels']:,} of {now['images']:,} now ({now['labels_digest'][:12]})"
        )
        return [difference]
    answers = ("comparisons", "comparisons_digest")
    if [then.get(name) for name in answers] != [now.get(name) for name in answers]:
        difference = (
            f"the comparisons of {now['path']} have changed: "
            f"{then.get('comparisons', 0):,} then, {now.get('comparisons', 0):,} now"
        )
        return [difference]
    return []


def _older_differences(
    record: Mapping[str, Any], caches: Sequence[Mapping[str, Any]], scales: TargetScales
) -> list[str]:
    """Compare what a run of version 1 says of its labels."""
    found = [
        f"{now['path']}: {then[name]:,} {name.replace('_', ' ')} then, {now[name]:,} now"
        for then, now in zip(record["shards"], caches, strict=True)
        for name in COUNTS
        if then[name] != now[name]
    ]
    units = [(s.dataset, s.task, s.mean, s.std, s.low, s.high) for s in scales.scales]
    before = [
        (v["dataset"], v["task"], v["mean"], v["std"], v["low"], v["high"])
        for v in record["scales"]
    ]
    if not found and units != before:
        found.append("the labels have other means and deviations than then")
    names = [(v["dataset"], v["task"]) for v in record["scales"]]
    if not found and len(set(names)) < len(names):
        found.append(
            "two caches have one data set's name: the run gave both the unit of the first, and "
            "each has its own now"
        )
    return found


def _identity(record: Mapping[str, Any]) -> str:
    identity = record.get("identity")
    return record["dataset"] if identity is None else f"{record['dataset']}, {identity[:12]}"
