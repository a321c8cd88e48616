"""A method, fitted to one query of one cache and kept in a folder, to rank and evaluate with.

    fit_method("coop", cache, "sort images by age.", "fits/coop")
    fitted = Fitted.load("fits/coop")
    ranking = fitted.rank(Cache.open("cache/holiday"))

out/
method.json           which method, its settings, the query, the features, what was learned from
method.safetensors    what was learned
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.data.distributions import distributions_of
from adapter.data.identity import cache_path, describe, same_cache
from adapter.data.labels import select_labels
from adapter.data.selectors import choose_fold, choose_splits
from adapter.data.usable import other_fold, seen_before
from adapter.errors import CheckpointError, ConfigError, LabelsError
from adapter.evaluation.long_tail import LongTail, measure_long_tail, training_labels
from adapter.evaluation.metrics import Metrics, measure
from adapter.evaluation.ranking import Ranking, order_by
from adapter.methods.fold import fold_of, load_text
from adapter.methods.method import ImageVectors
from adapter.methods.predictor import METHOD_FILE, load_predictor, read_method, save_predictor
from adapter.methods.registry import get, info
from adapter.names import clean_names
from adapter.record import PACKAGES
from featcache.storage.durable import make_folders, write_json
from featcache.storage.fingerprint import Fingerprint, require_same
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter.data.labels import QueryLabels
    from adapter.methods.antonyms import Pair
    from adapter.methods.method import Array, Predictor
    from featcache.reading.cache import Cache

PLAN_FILE = "plan.json"  # what is being fitted, until it is


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """How a fit ended.

    Attributes:
        folder: Where it is kept.
        method: Which method.
        images: What it learned from.
        classes: How many classes the labels have, or were put into.
        seconds: Wall time.
    """

    folder: Path
    method: str
    images: int
    classes: int
    seconds: float


def fit_method(
    name: str,
    cache: Cache,
    query: str,
    out: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    split: str | Sequence[str] = "train",
    fold: int | None = None,
    seed: int = 0,
    antonyms: Pair | None = None,
    scale: tuple[float, float] | None = None,
    quick: bool = False,
    device: str = "cpu",
    pretrained: str | None = None,
    model_config: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, steps: None,
) -> FitSummary:
    """Fit one method to one query, and keep it.

    A stopped fit goes on when it is asked for again; a finished one in ``out`` is refused.

    Args:
        name: Of the method.
        cache: The features and labels.
        query: One of the cache's queries.
        out: The folder.
        settings: The method's hyperparameters.
        split: Splits to learn from.
        fold: Which fold.
        seed: Of everything random.
        antonyms: Opposite prompts for methods that need them.
        scale: Lowest and highest possible label.
        quick: Few steps, to see in a minute whether it runs.
        device: Where to compute.
        pretrained: Where the backbone's weights are now, for the text tower.
        model_config: Where the backbone's model config is now.
        on_progress: Told (steps done, steps in all).

    Raises:
        ConfigError: The method or a setting is unknown, or ``out`` holds a finished fit.
        LabelsError: The query has no labels to learn from.
    """
    folder = Path(out)
    if (folder / METHOD_FILE).exists():
        raise ConfigError(f"{folder} holds a fitted method already; choose another folder")
    method = get(name, **(settings or {}))
    if quick:
        method = method.quick()
    data = fold_of(
        cache,
        query,
        split=split,
        fold=fold,
        seed=seed,
        antonyms=antonyms,
        scale=scale,
        device=device,
        folder=folder / "state",
        text=lambda: load_text(cache, device, pretrained=pretrained, model_config=model_config),
        on_progress=on_progress,
    )
    record = {
        "method": name,
        "title": info(name).title,
        "settings": dataclasses.asdict(method),  # type: ignore[call-overload]
        "query": data.query,
        "task": data.task,
        "split": split if isinstance(split, str) else list(split),
        "fold": fold,
        "seed": seed,
        "images": len(data.train.rows),
        "classes": list(data.class_names),
        "scale": list(data.value_range),
        "cache": describe(cache),
        "fingerprint": cache.fingerprint.to_dict(),
        "backbone": dict(cache.manifest.backbone),
    }
    _begin(folder / "state", record)
    started = time.monotonic()
    predictor = method.fit(data)
    save_predictor(folder, predictor, {**record, "versions": versions(*PACKAGES)})
    if name != "adapter":  # whose run is what was learned
        shutil.rmtree(folder / "state")
    return FitSummary(
        folder=folder,
        method=name,
        images=len(data.train.rows),
        classes=len(data.class_values),
        seconds=time.monotonic() - started,
    )


def _begin(state: Path, record: Mapping[str, Any]) -> None:
    """Say on the disk what is fitted there; refuse to go on with anything else.

    Raises:
        ConfigError: A stopped fit of other settings lies there; the message names them.
    """
    path = state / PLAN_FILE
    plan = json.loads(json.dumps(record))
    if not path.exists():
        make_folders(state)
        write_json(path, plan)
        return
    try:
        there = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); remove {state}") from error
    # A copy of a cache in another place is the same cache.
    for one in (plan, there):
        one["cache"] = {**one["cache"], "path": ""}
    if changed := sorted(key for key in plan if plan[key] != there.get(key)):
        raise ConfigError(
            f"{state.parent} holds a stopped fit with another {', '.join(changed)}; give the same "
            "command, or choose another folder"
        )


@dataclass(frozen=True, kw_only=True)
class FitMetrics:
    """How well a fitted method agrees with labels.

    Attributes:
        images: How many.
        metrics: Of the predicted values; of a classifier, of the expected value.
        likeliest: Of the value of the most likely class; None from a method that regresses.
    """

    images: int
    metrics: Metrics
    likeliest: Metrics | None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted method and what belongs to it.

    Attributes:
        folder: Where it is.
        predictor: What was learned.
        record: All of ``method.json``.
    """

    folder: Path
    predictor: Predictor
    record: Mapping[str, Any]

    @property
    def stand_in(self) -> bool:
        """Whether it learned from drawn stand-ins of data sets."""
        return bool(self.record["cache"].get("stand_in", False))

    @classmethod
    def load(cls, folder: str | Path) -> Fitted:
        """Read a fit.

        Raises:
            CheckpointNotFoundError: There is none.
            CheckpointError: A file is damaged.
        """
        folder = Path(folder)
        predictor: Any = load_predictor(folder)
        record = read_method(folder)
        if missing := {"method", "query", "fingerprint", "cache"} - record.keys():
            raise CheckpointError(
                f"{folder / METHOD_FILE}: a field is missing: {sorted(missing)[0]}"
            )
        if hasattr(predictor, "folder"):  # a run lies inside, wherever the fit was moved to
            predictor = dataclasses.replace(predictor, folder=str(folder / "state" / "run"))
        return cls(folder=folder, predictor=predictor, record=record)

    @property
    def query(self) -> str:
        """What it ranks by."""
        return str(self.record["query"])

    @property
    def fingerprint(self) -> Fingerprint:
        """The features that it was fitted on."""
        return Fingerprint.from_dict(self.record["fingerprint"])

    def require_features(self, cache: Cache) -> None:
        """Refuse a cache whose features are not those of the fit; views may differ.

        Raises:
            FingerprintMismatchError: They differ; the message says in what.
        """
        self.require_fingerprint(cache.fingerprint, f"the cache {cache_path(cache)}")

    def require_fingerprint(self, found: Fingerprint, what: str) -> None:
        """Refuse other features than those of the fit; ``what`` names whose they are."""
        require_same(
            self.fingerprint,
            found,
            f"the fitted method {self.folder}",
            what,
            ignore=("views",),
        )

    def rank(self, cache: Cache) -> Ranking:
        """Rank all images of a cache; scores are in the labels' unit."""
        self.require_features(cache)
        found = self.predictor.predict(ImageVectors(cache), np.arange(len(cache)))
        return order_by(cache, self.query, found.values)

    def evaluate(
        self, cache: Cache, *, split: str | Sequence[str] = "test", fold: int | None = None
    ) -> FitMetrics:
        """Measure agreement with labels.

        Raises:
            LabelsError: The cache has no labels of this query in the split.
        """
        chosen = self._chosen(cache, split, fold)
        found = self.predictor.predict(ImageVectors(cache), chosen.rows)
        low, high = self.record["scale"]

        def measured(values: Array) -> Metrics:
            return measure(chosen.values, values, label_range=(low, high))

        return FitMetrics(
            images=len(chosen.rows),
            metrics=measured(found.values),
            likeliest=None if found.likeliest is None else measured(found.likeliest),
        )

    def evaluate_long_tail(
        self,
        cache: Cache,
        *,
        split: str | Sequence[str] = "test",
        fold: int | None = None,
        threshold: float | None = None,
    ) -> LongTail:
        """Measure errors by region of the training labels, and of distributions of ratings.

        Raises:
            LabelsError: The cache has no labels of this query in the split, or in that of the
                training.
        """
        chosen = self._chosen(cache, split, fold)
        found = self.predictor.predict(ImageVectors(cache), chosen.rows)
        return measure_long_tail(
            chosen.values,
            found.values,
            training_labels(
                cache,
                chosen.task,
                self.query,
                split=self.record["split"],
                fold=self.record["fold"] if fold is None else fold,
            ),
            threshold=threshold,
            predicted=found.distributions,
            target=distributions_of(cache, chosen.task, self.query, chosen.rows),
        )

    def notes(
        self, cache: Cache, *, split: str | Sequence[str] = "test", fold: int | None = None
    ) -> list[str]:
        """Say where an evaluation is not of what the fit has never seen.

        Raises:
            LabelsError: The cache has no labels of this query in the split.
        """
        evaluated, record = self._chosen(cache, split, fold), self.record
        notes = other_fold(record["fold"] if fold is None else fold, record["fold"])
        if not same_cache(record["cache"], describe(cache)):
            return notes
        splits = clean_names(record["split"], commas=True)
        try:
            trained = select_labels(
                cache, split=splits, fold=record["fold"], queries=(self.query,)
            ).queries[0]
        except LabelsError:  # the cache has other labels now: none of the training's is left
            return notes
        return notes + seen_before(cache.name, evaluated.rows, trained.rows, splits)

    def _chosen(self, cache: Cache, split: str | Sequence[str], fold: int | None) -> QueryLabels:
        """Return the labels of a split."""
        self.require_features(cache)
        splits = choose_splits([cache], split)
        fold = self.record["fold"] if fold is None else choose_fold([cache], fold)
        return select_labels(cache, split=splits, fold=fold, queries=(self.query,)).queries[0]


def is_fitted(folder: Path) -> bool:
    """Tell whether a folder holds a fitted method, rather than a run."""
    return (folder / METHOD_FILE).is_file()
