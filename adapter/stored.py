"""A run's folder: what was trained, from which features, in which unit its scores are.

run/
run.json              settings, caches with their identities, units, versions, outcome
adapter.safetensors   weights (the best of the validations, else the last)
adapter.json          architecture
log.jsonl             losses and timings
stack.json, .safetensors   lines and weights per query, of a run that is stacked
state/, parts/        what resuming needs; removed when the run is finished
eval.json             metrics, once evaluated
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from adapter.convert import require_features
from adapter.data.identity import cache_path, position
from adapter.data.targets import TargetScale, TargetScales
from adapter.errors import CheckpointError, ConfigError
from adapter.network.model import RankingAdapter
from adapter.record import RUN_FILE, read_record
from adapter.stacking.stack import Stack, StackedQuery
from featcache.storage.fingerprint import Fingerprint, require_same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.data.labels import FeatureCache
    from featcache.devices import Precision


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A trained adapter and what belongs to it.

    Attributes:
        folder: Where it is.
        model: The adapter, on the CPU, in evaluation mode.
        scales: Units of its scores.
        fingerprint: The features that it was trained on; None for a converted checkpoint, of
            which only what ``requires`` in the record says is known.
        record: All of ``run.json``.
        stack: Per query, the regression that is added to the adapter; None where there is none.
    """

    folder: Path
    model: RankingAdapter
    scales: TargetScales
    fingerprint: Fingerprint | None
    record: Mapping[str, Any]
    stack: Stack | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a run.

        Raises:
            CheckpointNotFoundError: There is no run, or it has no weights yet.
            CheckpointError: A file is damaged.
        """
        folder = Path(folder)
        record = read_record(folder)
        model = RankingAdapter.load(folder)
        stack = Stack.load(folder) if _has_stack(record) else None
        try:
            return cls(
                folder=folder,
                model=model,
                scales=TargetScales.from_list(record["scales"]),
                fingerprint=None
                if "requires" in record
                else Fingerprint.from_dict(record["shards"][0]["fingerprint"]),
                record=record,
                stack=stack,
            )
        except (KeyError, IndexError, TypeError) as error:
            raise CheckpointError(f"{folder / RUN_FILE}: a field is missing: {error}") from error

    @property
    def stand_in(self) -> bool:
        """Whether it was trained on drawn stand-ins of data sets."""
        return any(shard.get("stand_in", False) for shard in self.record["shards"])

    @property
    def queries(self) -> tuple[str, ...]:
        """The queries that it was trained on; of a converted checkpoint none is known."""
        return tuple(dict.fromkeys(q for scale in self.scales.scales for q in scale.queries))

    def precision(self, asked: Precision) -> Precision:
        """Return the precision to predict in: ``auto`` is that of the training, on any device."""
        return self.record.get("precision", "auto") if asked == "auto" else asked

    def position(self, cache: FeatureCache) -> int | None:
        """Return which cache of the run's training this is; None for any other."""
        return position(self.record["shards"], cache)

    def scale(self, cache: FeatureCache, query: str, task: str | None = None) -> TargetScale:
        """Return the unit of a query's scores on a cache; see ``TargetScales.find``."""
        return self.scales.find(query, task, cache.dataset, self.position(cache))

    def stacked(
        self, cache: FeatureCache, query: str, task: str | None = None
    ) -> StackedQuery | None:
        """Return what is added to the adapter for a query; None for one that was not trained."""
        if self.stack is None:
            return None
        return self.stack.find(query, task, self.position(cache))

    def about_query(self, query: str) -> str | None:
        """Say that a query is not one that was trained, and which is closest; else None."""
        trained = self.queries
        if not trained or query in trained:
            return None
        close = get_close_matches(query, trained, n=1, cutoff=0.0)
        return (
            f"the run was not trained on the query {query!r}; the closest that it knows is "
            f"{close[0]!r}"
        )

    def require_features(self, cache: FeatureCache) -> None:
        """Refuse a cache whose features are not those of the training; views may differ.

        Raises:
            FingerprintMismatchError: They differ; the message says in what.
        """
        self.require_fingerprint(cache.fingerprint, f"the cache {cache_path(cache)}")

    def require_fingerprint(self, found: Fingerprint, what: str) -> None:
        """The same for a fingerprint; ``what`` names in the message what it belongs to."""
        if self.fingerprint is None:
            require_features(self.record["requires"], found.backbone, what)
        else:
            require_same(self.fingerprint, found, f"the run {self.folder}", what, ignore=("views",))


def _has_stack(record: Mapping[str, Any]) -> bool:
    """Tell whether a run is stacked; one that was stopped has only the adapter so far."""
    outcome = record.get("outcome")
    parts = record.get("settings", {}).get("train", {}).get("stack_parts", 0)
    return bool(parts) and outcome is not None and not outcome["interrupted"]


def open_caches(
    caches: Sequence[str | Path | FeatureCache], *, verify_rows: bool = False
) -> list[FeatureCache]:
    """Open caches that are given as paths, and require that all hold the same features.

    Args:
        caches: Caches, as paths or opened.
        verify_rows: Compare each row with its digest when it is first read; of the caches that
            are opened here.

    Raises:
        ConfigError: There are none, or one is given twice.
        FingerprintMismatchError: They differ; views may.
    """
    if not caches:
        raise ConfigError("at least one cache is needed: --shards CACHE")
    places = [Path(cache).resolve() for cache in caches if isinstance(cache, (str, Path))]
    if len(set(places)) < len(places):
        raise ConfigError(f"the cache {max(places, key=places.count)} is given twice")
    opened = [_open(c, verify_rows) if isinstance(c, (str, Path)) else c for c in caches]
    for other in opened[1:]:
        require_same(
            opened[0].fingerprint,
            other.fingerprint,
            f"the cache {cache_path(opened[0])}",
            f"the cache {cache_path(other)}",
            ignore=("views",),
        )
    return opened


def _open(path: str | Path, verify_rows: bool) -> FeatureCache:
    from featcache.reading.cache import Cache

    return Cache.open(path, verify_rows=verify_rows)
