"""Wishes of the page: a sentence to scores of all photos, and wishes to an order."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from adapter.errors import AdapterError, ConfigError
from adapter.evaluation.predict import predict
from adapter.evaluation.wishes import Form, combine, percentiles, scaled
from adapter.methods.ranker import AntonymRanker
from featcache.errors import FeatcacheError
from featcache.extraction.backbone import load_backbone_of
from featcache.extraction.prompts import encode_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from adapter.serve.library import Library
    from adapter.stored import StoredRun
    from featcache.reading.cache import Cache
    from featcache.storage.prompts import Prompt

    Array = NDArray[np.float64]

LONGEST = 300  # characters of a sentence
MOST = 20  # wishes at once
Status = Literal["working", "ready", "failed"]


@dataclass(kw_only=True)
class Wish:
    """A sentence, and the scores of all photos for it.

    Attributes:
        number: Its number.
        text: The sentence.
        source: What ranks: a run's name, ``similarity`` of text and image, or ``taste``.
        opposite: The sentence at the other end, of two opposite prompts (CLIP-IQA); else empty.
        status: Whether the scores are there.
        done: Photos that are scored.
        note: What the person should know: not trained, no unit, why it failed.
        unit: Whether scores are in the unit of labels.
        scores: float64 [N], once ready.
        prepared: The scores in the common unit of each form.
    """

    number: int
    text: str
    source: str
    opposite: str = ""
    status: Status = "working"
    done: int = 0
    note: str = ""
    unit: bool = False
    scores: Array | None = None
    prepared: dict[str, Array] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What tells it from every other wish."""
        more = f" rather than {self.opposite}" if self.opposite else f" by {self.source}"
        return self.text + more

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the scores."""
        return {
            "number": self.number,
            "text": self.text,
            "source": self.source,
            "opposite": self.opposite,
            "status": self.status,
            "done": self.done,
            "note": self.note,
            "unit": self.unit,
        }


class PromptedCache:
    """A cache that also has tokens of prompts which were encoded on the spot."""

    def __init__(self, cache: Cache, prompt: Callable[[str], Prompt]) -> None:
        self._cache = cache
        self.prompt = prompt

    def __getattr__(self, name: str) -> Any:
        """Everything else is the cache's."""
        return getattr(self._cache, name)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._cache)


class Engine:
    """Scores photos for sentences, in the background, and puts them in order.

    Args:
        library: The photos.
        runs: Name to trained run; there may be none.
        device: Where to compute.
        backbone: Fields of the backbone that differ here, such as the path of ``pretrained``.
    """

    def __init__(
        self,
        library: Library,
        runs: dict[str, StoredRun],
        *,
        device: str = "auto",
        backbone: dict[str, str] | None = None,
    ) -> None:
        self.library = library
        self.runs = runs
        self.wishes: dict[int, Wish] = {}
        self._device = device
        self._changes = backbone or {}
        self._lock = threading.Lock()
        self._work = threading.Lock()  # one network at a time
        self._backbone: Any = None
        self._texts: dict[str, Prompt] = {}
        self.cache = cast("Cache", PromptedCache(library.cache, self.prompt))

    def prompt(self, text: str) -> Prompt:
        """Return tokens of a sentence: the cache's, or encoded now.

        Raises:
            FeatcacheError: The text tower cannot be loaded, or the sentence is too long for it.
        """
        if text not in self._texts:
            try:
                self._texts[text] = self.library.cache.prompt(text)
            except KeyError:
                self._texts |= encode_prompts(self._loaded(), [text])
        return self._texts[text]

    def _loaded(self) -> Any:
        """Return the backbone of the cache, loaded once."""
        if self._backbone is None:
            self._backbone = load_backbone_of(
                self.library.cache.manifest, device="cpu", **self._changes
            )
        return self._backbone

    def add(self, text: str, source: str, opposite: str = "") -> Wish:
        """Begin to score a sentence.

        Args:
            text: The sentence.
            source: A run's name, or ``similarity``.
            opposite: The sentence at the other end; needs no run.

        Raises:
            ConfigError: It is empty or long, the source is unknown, or there are enough wishes.
        """
        text, opposite = " ".join(text.split()), " ".join(opposite.split())
        if not text or max(len(text), len(opposite)) > LONGEST:
            raise ConfigError(f"a wish has 1 to {LONGEST} characters")
        if opposite and (source != "similarity" or opposite == text):
            raise ConfigError("opposites are two different sentences, and go with similarity")
        if source != "similarity" and source not in self.runs:
            raise ConfigError(f"no run {source!r}; there are {', '.join(self.runs) or 'none'}")
        for wish in self.wishes.values():
            there = (wish.text, wish.source, wish.opposite)
            if there == (text, source, opposite) and wish.status != "failed":
                return wish
        wish = self._new(text, source, opposite)
        threading.Thread(target=self._score, args=(wish,), daemon=True).start()
        return wish

    def put(self, text: str, source: str, scores: Array, note: str) -> Wish:
        """Add, or replace, a wish whose scores are there already, such as a taste."""
        for wish in self.wishes.values():
            if (wish.text, wish.source) == (text, source):
                wish.note = note
                self._ready(wish, scores)
                return wish
        wish = self._new(text, source)
        wish.note = note
        self._ready(wish, scores)
        return wish

    def remove(self, number: int) -> None:
        """Forget a wish."""
        with self._lock:
            self.wishes.pop(number, None)

    def order(
        self, weights: Sequence[tuple[int, float]], form: Form = "percentile"
    ) -> tuple[Array, NDArray[np.float64]]:
        """Combine wishes: scores [N], and what each wish adds [K, N].

        Without any weight but zero, the photos are in the order of the cache.

        Raises:
            ConfigError: A wish is unknown or not ready.
        """
        chosen = [(self._require(number), weight) for number, weight in weights if weight]
        if not chosen:
            return np.linspace(1, 0, len(self.library)), np.zeros((0, len(self.library)))
        prepared = np.stack([wish.prepared[form] for wish, _ in chosen])
        found = combine(prepared, [weight for _, weight in chosen], form)
        return found.scores, found.shares

    def _require(self, number: int) -> Wish:
        wish = self.wishes.get(number)
        if wish is None or wish.status != "ready":
            raise ConfigError(f"wish {number} is not there, or not ready yet")
        return wish

    def _new(self, text: str, source: str, opposite: str = "") -> Wish:
        with self._lock:
            if len(self.wishes) >= MOST:
                raise ConfigError(f"{MOST} wishes are there; remove one first")
            number = max(self.wishes, default=0) + 1
            wish = self.wishes[number] = Wish(
                number=number, text=text, source=source, opposite=opposite
            )
        return wish

    def _score(self, wish: Wish) -> None:
        """Score all photos; runs in a thread."""
        try:
            with self._work:
                scores = self._scores(wish)
        except (AdapterError, FeatcacheError, OSError, RuntimeError) as error:
            wish.note, wish.status = str(error), "failed"
            return
        self._ready(wish, scores)

    def _scores(self, wish: Wish) -> Array:
        if wish.opposite:
            return self._between(wish)
        if wish.source == "similarity":
            wish.note = (
                "similarity of text and image, which means something with a CLIP whose towers "
                "were trained together; the percentile counts, not the number"
            )
            pooled = self.prompt(wish.text).pooled.astype(np.float32)
            direction = pooled / (np.linalg.norm(pooled) or 1.0)
            found: Array = (self.library.directions @ direction).astype(np.float64)
            return found
        run = self.runs[wish.source]
        wish.note = run.about_query(wish.text) or ""
        wish.unit = not wish.note
        self.prompt(wish.text)

        def count(images: int) -> None:
            wish.done += images

        by: Any = "score" if run.model.config.score_head else "comparison"
        rows = np.arange(len(self.library))
        return predict(
            run, self.cache, wish.text, rows, by=by, device=self._device, on_images=count
        )

    def _between(self, wish: Wish) -> Array:
        """Score by two opposite prompts, 0 to 1; pooled embeddings are enough."""
        from adapter.methods.text import SoftText

        wish.note = "by two opposite sentences (CLIP-IQA), which needs no training"
        ranker = AntonymRanker(pairs=((wish.text, wish.opposite),))
        return ranker.scores(self.library.cache, SoftText(self._loaded()))

    def _ready(self, wish: Wish, scores: Array) -> None:
        wish.prepared = {"percentile": percentiles(scores), "product": scaled(scores)}
        wish.scores, wish.done, wish.status = scores, len(scores), "ready"
