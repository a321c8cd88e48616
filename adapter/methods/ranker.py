"""What can rank photos: a run, a fitted method, or nothing but opposite prompts.

Each kind says which features it needs, and ranks a cache of them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from adapter.errors import ConfigError
from adapter.evaluation.rank import NeededFeatures, features_of, rank_cache
from adapter.evaluation.ranking import Ranking, order_by
from adapter.methods.antonyms import Pair, pairs_of
from adapter.methods.clip_iqa import AntonymScale
from featcache.backbone import BackboneSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from adapter.evaluation.predict import By
    from adapter.methods.fitted import Fitted
    from adapter.methods.text import SoftText
    from adapter.network.comparison import Opponents
    from adapter.stored import StoredRun
    from featcache.devices import Precision
    from featcache.reading.cache import Cache


class Ranker(Protocol):
    """Says which features it needs, and ranks a cache of them."""

    @property
    def stand_in(self) -> bool:
        """Whether it learned from drawn stand-ins of data sets."""

    def features(self, **changes: str | None) -> NeededFeatures:
        """Say what to extract; ``changes`` are fields of the backbone that differ here."""

    def rank(
        self, cache: Cache, *, device: str, on_images: Callable[[int], None] = lambda count: None
    ) -> Ranking:
        """Rank all images of a cache; ``on_images`` is told how many after each part of them."""


@dataclass(frozen=True, kw_only=True)
class RunRanker:
    """A trained adapter, a query, and which of its heads to read.

    Attributes:
        run: The run.
        query: What to rank by.
        by: Which head.
        opponents: How many others each image meets by comparison.
        precision: Of the adapter.
        more: Further queries that an extraction keeps tokens of.
    """

    run: StoredRun
    query: str
    by: By = "score"
    opponents: Opponents = None
    precision: Precision = "auto"
    more: tuple[str, ...] = ()

    @property
    def stand_in(self) -> bool:
        """Whether the run was trained on drawn stand-ins of data sets."""
        return self.run.stand_in

    def features(self, **changes: str | None) -> NeededFeatures:
        """Those that the run was trained on."""
        return features_of(self.run, (self.query, *self.more), **changes)

    def rank(
        self, cache: Cache, *, device: str, on_images: Callable[[int], None] = lambda count: None
    ) -> Ranking:
        """Rank by the query."""
        return rank_cache(
            self.run,
            cache,
            self.query,
            by=self.by,
            opponents=self.opponents,
            device=device,
            precision=self.precision,
            on_images=on_images,
        )


@dataclass(frozen=True, kw_only=True)
class FittedRanker:
    """A fitted method; its query is the one that it was fitted to."""

    fitted: Fitted

    @property
    def stand_in(self) -> bool:
        """Whether it was fitted to drawn stand-ins of data sets."""
        return self.fitted.stand_in

    def features(self, **changes: str | None) -> NeededFeatures:
        """Those that the method was fitted on; an adapter reads the tokens of its prompt."""
        return NeededFeatures(
            spec=BackboneSpec.from_dict({**self.fitted.record["backbone"], **_given(changes)}),
            prompts=(self.fitted.query,),
            like=self.fitted.fingerprint,
            check=lambda found: self.fitted.require_fingerprint(found, "this backbone"),
        )

    def rank(
        self, cache: Cache, *, device: str, on_images: Callable[[int], None] = lambda count: None
    ) -> Ranking:
        """Rank by what was learned."""
        del device, on_images  # one product of matrices
        return self.fitted.rank(cache)


@dataclass(frozen=True, kw_only=True)
class AntonymRanker:
    """CLIP-IQA: the mean score over pairs of opposite prompts; no run and no labels.

    Attributes:
        pairs: One or more, the high end first.
        spec: The backbone for folders; a cache brings its own.
        moved: Where a cache's ``pretrained`` and ``model_config`` are now.
    """

    pairs: tuple[Pair, ...]
    spec: BackboneSpec | None = None
    moved: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse to rank by nothing."""
        if not self.pairs:
            raise ConfigError("give --antonyms HIGH LOW, or --attribute NAME")

    @property
    def stand_in(self) -> bool:
        """Nothing was learned."""
        return False

    @property
    def title(self) -> str:
        """The pairs in one line."""
        return ", ".join(f"{high} / {low}" for high, low in self.pairs)

    def features(self, **changes: str | None) -> NeededFeatures:
        """Those of the given backbone, or of the default CLIP."""
        spec = (self.spec or BackboneSpec()).to_dict()
        return NeededFeatures(spec=BackboneSpec.from_dict({**spec, **_given(changes)}))

    def rank(
        self, cache: Cache, *, device: str, on_images: Callable[[int], None] = lambda count: None
    ) -> Ranking:
        """Rank by the pairs; scores are in 0 ... 1. Pooled embeddings are enough.

        Raises:
            ConfigError: The text tower tells no pair's prompts apart.
        """
        del on_images  # one product of matrices
        from adapter.methods.fold import load_text

        text = load_text(cache, device, **self.moved)
        return order_by(cache, self.title, self.scores(cache, text))

    def scores(self, cache: Cache, text: SoftText) -> NDArray[np.float64]:
        """Score every image of a cache: float64 [n], 0 ... 1.

        Args:
            cache: The features.
            text: The text tower of the backbone that made it.

        Raises:
            ConfigError: The text tower tells no pair's prompts apart.
        """
        prompts = text.encode([prompt for pair in self.pairs for prompt in pair]).cpu().numpy()
        if np.allclose(prompts[::2], prompts[1::2], atol=1e-6):
            raise ConfigError(
                f"{self.title}: the text tower of {cache.manifest.backbone['name']} reads both "
                "prompts alike, so they cannot rank; use other words"
            )
        scale = AntonymScale.of(prompts, text.logit_scale, (0.0, 1.0))
        pooled = cache.pooled(np.arange(len(cache))).astype(np.float64)  # [n, E]
        return scale.scores(pooled)


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Read pairs of opposite prompts from a CSV file: two columns, the high end first.

    A first line ``high,low`` is a header.

    Raises:
        ConfigError: The file is missing, not text, or a line has not two different texts.
    """
    try:
        rows = list(csv.reader(path.read_text("utf-8-sig").splitlines(), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if rows and [cell.strip().lower() for cell in rows[0]] == ["high", "low"]:
        rows = rows[1:]
    pairs = [tuple(cell.strip() for cell in row) for row in rows if any(map(str.strip, row))]
    if not pairs:
        raise ConfigError(f"{path}: no pairs; expected lines of two texts, the high end first")
    return pairs_of(pairs)  # type: ignore[arg-type]  # checked there


def chosen_pairs(
    attributes: Sequence[str], antonyms: Pair | None, file: Path | None
) -> tuple[Pair, ...]:
    """Return the pairs of all three options, in this order."""
    given: list[Pair | str] = [*attributes, *([antonyms] if antonyms else [])]
    return pairs_of(given) + (read_pairs(file) if file else ())


def _given(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the changes that were given."""
    return {name: value for name, value in changes.items() if value is not None}
