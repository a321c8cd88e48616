"""Predictions of a trained adapter: what a prompt says about the images of a cache.

    scores = predict(run, cache, "sort images by the image quality.", rows)

``score`` ranks by the regression head, in the labels' unit; ``comparison`` ranks by pair logits
(see :mod:`adapter.network.comparison`) and has no unit. No label is read here; ``evaluate.py``
compares predictions with them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from adapter.data.feed import to_compute
from adapter.data.identity import cache_path
from adapter.data.sampling import require_prompts
from adapter.errors import ConfigError
from adapter.names import choose_names
from adapter.network.comparison import rank_by_comparison
from adapter.network.model import Encoding
from adapter.network.ranking import PairSummary
from featcache.devices import autocast_for, choose_precision, pick_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from adapter.data.labels import FeatureCache
    from adapter.network.comparison import Method, Opponents
    from adapter.network.model import RankingAdapter
    from adapter.stored import StoredRun
    from featcache.devices import Precision

By = Literal["score", "comparison"]
Array = NDArray[np.float64]
BATCH = 128  # images per forward pass


def predict(
    run: StoredRun,
    cache: FeatureCache,
    query: str,
    rows: NDArray[np.int64],
    *,
    by: By = "score",
    task: str | None = None,
    method: Method = "bradley-terry",
    opponents: Opponents = None,
    device: str = "auto",
    precision: Precision = "auto",
    view: str | None = None,
    on_images: Callable[[int], None] = lambda count: None,
) -> Array:
    """Rank images by any prompt that the cache has tokens for, trained on or not.

    Args:
        run: The run.
        cache: Where the features are.
        query: The prompt.
        rows: int64 [n], the images.
        by: ``score`` or ``comparison``.
        task: The task whose unit the scores get; guessed from the query when left out, see
            ``TargetScales.find``.
        method: How pair logits become a ranking.
        opponents: How many others each image is compared with, or ``all``; None chooses.
        device: Where to compute.
        precision: Of the network; ``auto`` is that of the training.
        view: Name of the view; the cache's first when left out.
        on_images: Called with the number of images after each part of them.

    Returns:
        float64 [n]; higher means more.
    """
    run.require_features(cache)
    place = pick_device(device)
    rankings = choose_rankings(run.model.to(place).eval(), (by,))
    return predict_run(
        run,
        cache,
        query,
        rows,
        rankings,
        task=task,
        device=place,
        precision=choose_precision(run.precision(precision), place),
        view=view,
        method=method,
        opponents=opponents,
        on_images=on_images,
    ).values[by]


class RunPrediction(NamedTuple):
    """What a run says of images, per way of ranking; scores are in the labels' unit.

    Attributes:
        values: float64 [n] each, of the whole run.
        adapter: The same of its adapter alone, where the query has a regression; else None.
    """

    values: dict[By, Array]
    adapter: dict[By, Array] | None


def predict_run(
    run: StoredRun,
    cache: FeatureCache,
    query: str,
    rows: NDArray[np.int64],
    rankings: Sequence[By],
    *,
    task: str | None,
    device: torch.device,
    precision: Precision,
    view: str | None = None,
    method: Method = "bradley-terry",
    opponents: Opponents = None,
    on_images: Callable[[int], None] = lambda count: None,
) -> RunPrediction:
    """Predict as the whole run does: adapter, stack and unit.

    A stacked run averages over all views that the cache holds, where none is named. Where a query
    has a regression, strengths by comparison take the place of the adapter's scores, with the mean
    and deviation that those have over the same images, and the regression is added to them.

    Args:
        run: The run; its adapter is on ``device``, in evaluation mode.
        cache: Where the features are.
        query: The prompt.
        rows: int64 [n], the images.
        rankings: What to compute.
        task: The task whose unit the scores get, and whose regression is added.
        device: Where.
        precision: Of the network.
        view: Name of the view.
        method: How pair logits become a ranking.
        opponents: How many others each image is compared with, or ``all``; None chooses.
        on_images: Called with the number of images after each part of them.
    """
    if view is not None:
        views = [choose_view([cache], view)]
    else:
        views = list(cache.views if run.stack is not None else cache.views[:1])
    stacked = run.stacked(cache, query, task)
    needed: tuple[By, ...] = tuple(rankings)
    if stacked is not None:
        needed = ("score", *(by for by in rankings if by != "score"))
    found = predict_views(
        run.model,
        cache,
        rows,
        query,
        needed,
        views,
        device=device,
        precision=precision,
        method=method,
        opponents=opponents,
        on_images=on_images,
    )
    if "score" in found:
        scale = run.scale(cache, query, task)
        if stacked is not None:
            scale = run.scales.of_task(stacked.cache, stacked.task)
        found["score"] = scale.restore(found["score"])
    alone = {by: found[by] for by in rankings}
    if stacked is None:
        return RunPrediction(alone, None)
    regression = stacked.regress(cache, rows, views)
    whole = {
        by: stacked.combine(values if by == "score" else _like(values, found["score"]), regression)
        for by, values in alone.items()
    }
    return RunPrediction(whole, alone)


def _like(values: Array, others: Array) -> Array:
    """Shift and scale values [n] to the mean and the deviation of others [n]."""
    spread = float(values.std())
    scaled = (values - values.mean()) * (float(others.std()) / spread if spread > 0 else 0.0)
    return np.asarray(scaled + others.mean(), np.float64)


def predict_views(
    model: RankingAdapter,
    cache: FeatureCache,
    rows: NDArray[np.int64],
    prompt: str,
    rankings: Sequence[By],
    views: Sequence[str],
    *,
    device: torch.device,
    precision: Precision,
    method: Method = "bradley-terry",
    opponents: Opponents = None,
    on_images: Callable[[int], None] = lambda count: None,
) -> dict[By, Array]:
    """Average :func:`predict_rankings` over views; images are counted with the last of them."""
    each = [
        predict_rankings(
            model,
            cache,
            rows,
            prompt,
            rankings,
            device=device,
            precision=precision,
            view=view,
            method=method,
            opponents=opponents,
            on_images=on_images if view == views[-1] else lambda count: None,
        )
        for view in views
    ]
    return {by: np.mean([found[by] for found in each], axis=0) for by in each[0]}


def predict_rankings(
    model: RankingAdapter,
    cache: FeatureCache,
    rows: NDArray[np.int64],
    prompt: str,
    rankings: Sequence[By],
    *,
    device: torch.device,
    precision: Precision,
    view: str | None = None,
    method: Method = "bradley-terry",
    opponents: Opponents = None,
    on_images: Callable[[int], None] = lambda count: None,
) -> dict[By, Array]:
    """Compute scores, in the network's unit, and strengths by comparison, in one pass.

    Args:
        model: The adapter, on ``device``, in evaluation mode.
        cache: Where the features are.
        rows: int64 [n], the images.
        prompt: The prompt.
        rankings: What to compute.
        device: Where.
        precision: Of the network.
        view: Name of the view; the cache's first when left out.
        method: How pair logits become a ranking.
        opponents: How many others each image is compared with, or ``all``; None chooses.
        on_images: Called with the number of images after each part of them.

    Returns:
        float64 [n] per way.
    """
    require_prompts(cache, [prompt], cache_path(cache))
    view = choose_view([cache], view or cache.views[0])
    text = torch.from_numpy(np.array(cache.prompt(prompt).tokens)).float().to(device)  # [T, D]
    scores: list[Tensor] = []
    summaries: list[PairSummary] = []
    with torch.inference_mode(), autocast_for(precision, device):
        for tokens in _chunks(cache, rows, view):
            found = _outputs(model, to_compute(tokens.to(device)), text, rankings)
            if found.scores is not None:
                scores.append(found.scores.double().cpu())
            if found.summary is not None:
                summaries.append(found.summary)
            on_images(len(tokens))
        result: dict[By, Array] = {}
        if scores:
            result["score"] = torch.cat(scores).numpy()
        if summaries:
            everyone = PairSummary.cat(summaries)
            strengths = rank_by_comparison(model, everyone, method=method, opponents=opponents)
            result["comparison"] = strengths.double().cpu().numpy()
    return result


def choose_rankings(model: RankingAdapter, asked: Sequence[By] | None) -> tuple[By, ...]:
    """Check, or choose, the ways of ranking that the adapter has heads for."""
    heads: dict[By, bool] = {
        "score": model.config.score_head,
        "comparison": model.config.pair_head != "none",
    }
    if asked is None:
        return tuple(by for by, there in heads.items() if there)
    chosen = cast("tuple[By, ...]", choose_names("ranking", asked, heads, commas=True))
    for by in chosen:
        if not heads[by]:
            raise ConfigError(f"this adapter was trained without the head for {by!r}")
    return chosen


def choose_view(caches: Sequence[FeatureCache], view: str) -> str:
    """Check a view's name; every cache has to hold it."""
    for cache in caches:
        (view,) = choose_names("view", [view], cache.views) or ("",)
    return view


def _outputs(
    model: RankingAdapter, images: Tensor, text: Tensor, rankings: Sequence[By]
) -> Encoding:
    """Compute what the ways of ranking need, and no other head."""
    if "comparison" not in rankings:
        return Encoding(model(images, text), None)
    if "score" not in rankings:
        return Encoding(None, model.summarize(images, text))
    return model.encode(images, text)


def _chunks(cache: FeatureCache, rows: NDArray[np.int64], view: str) -> Iterator[Tensor]:
    """Yield tokens [b, P, C], reading one part ahead."""

    def read(start: int) -> Tensor:
        tokens = cache.tokens(rows[start : start + BATCH], view=view)
        return torch.from_numpy(np.ascontiguousarray(tokens))

    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(read, 0)
        for start in range(0, len(rows), BATCH):
            tokens = ahead.result()
            if start + BATCH < len(rows):
                ahead = pool.submit(read, start + BATCH)
            yield tokens
