"""A cache in the order of a taste: what `adapter rank --comparisons` and the page's Train show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.data.comparisons import select_comparisons
from adapter.errors import ConfigError
from adapter.evaluation.ranking import order_by
from adapter.teaching.linear import image_features
from adapter.teaching.resemblance import resemblance_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.data.comparisons import ComparisonTable
    from adapter.evaluation.rank import NeededFeatures
    from adapter.evaluation.ranking import Ranking
    from featcache.reading.cache import Cache


@dataclass(frozen=True, kw_only=True)
class TasteRanker:
    """Ranks by answers to one question; no run and no text tower.

    Attributes:
        answers: The table of answers.
        query: The question.
    """

    answers: ComparisonTable
    query: str

    @property
    def stand_in(self) -> bool:
        """The cache says whether its photos are drawn."""
        return False

    def features(self, **changes: str | None) -> NeededFeatures:
        """Answers are about photos of a cache, so there is nothing to extract."""
        del changes
        raise ConfigError("--comparisons goes with --shards: answers are about photos of a cache")

    def rank(
        self, cache: Cache, *, device: str, on_images: Callable[[int], None] = lambda count: None
    ) -> Ranking:
        """Learn from the answers, and rank; a difference of 1 wins 73 % of the time.

        Raises:
            LabelsError: No answer to the question is about two photos of the cache.
        """
        del device
        [selection], _ = select_comparisons([cache], self.answers, (self.query,))
        features = image_features(cache)
        [asked] = [one for one in selection.questions if one.question == self.query]
        scores = resemblance_scores(cache, features, asked, on_images=on_images)
        return order_by(cache, self.query, scores)


def taste_rankers(answers: ComparisonTable, queries: list[str]) -> list[TasteRanker]:
    """Return a ranker for each question; the table's only one where none is named.

    Raises:
        ConfigError: The table does not answer a question, or answers several and none is named.
    """
    known = sorted(set(answers.questions))
    if not queries and len(known) != 1:
        raise ConfigError(
            f"{answers.source} answers {len(known)} questions; choose with --query: "
            + "; ".join(map(repr, known[:10]))
        )
    if unknown := [query for query in queries if query not in known]:
        raise ConfigError(
            f"{answers.source} does not answer {unknown[0]!r}; it answers "
            + "; ".join(map(repr, known[:10]))
        )
    return [TasteRanker(answers=answers, query=query) for query in queries or known]
