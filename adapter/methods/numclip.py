"""NumCLIP: coarse classes by words, then a fine head that moves within them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from adapter.methods.method import (
    Array,
    FoldData,
    Hyperparameters,
    ImageVectors,
    Prediction,
    Rows,
    require,
    softmax,
    unit_rows,
)
from adapter.methods.words import steps_of, tells_age
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

RATIO = 0.8  # share of the adapted embedding; the rest is the cached one
LEAST = 1e-3  # of 1 + delta: tanh reaches -1 in float32, and the value would be infinite

# The words of the original's age classes, and the age that each begins with.
AGE_WORDS = ("child", "teenager", "young adult", "middle adult", "older adult")
AGE_STARTS = (0.0, 13.0, 19.0, 35.0, 65.0)
MOST_CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class NumClip(Hyperparameters):
    """Du et al., "Teach CLIP to develop a number sense for ordinal regression", ECCV 2024.

    Three steps (no license is given for the code, so this is written from its equations): a small
    adapter on the image embedding, f' = 0.8 ReLU(W2 ReLU(W1 f)) + 0.2 f; classification into
    coarse classes by prompts whose class words are learned; and a fine head,
    value = sum_k p_k c_k / (1 + delta_k) with delta = tanh(W_b ReLU(W_a logits)), which moves each
    class's start c_k. Minimized are the ranking-calibrated cross-entropy, its counterpart from
    text to image (which the paper does not print, but which its numbers need), and the L1 error.

    The original also trains its image tower, at 1e-5; a frozen one cannot reproduce that. Values
    are taken relative to the first class's start, so that any scale of labels works; with the
    original's ages, whose first class starts at 0, this is the same.

    Attributes:
        context: What each prompt begins with, frozen; the class words follow. Empty takes the words
            that all class prompts of the fold begin with.
        words: Words of the coarse classes. Empty takes what the class prompts differ in where
            there are at most ten classes (so for Adience's groups and HCI's decades, whose words
            the original does not publish), the original's words for ages in years, else this
            project's words for five equal parts of the scale, such as bad to excellent.
        starts: The value that each coarse class begins with.
        epochs: Passes over the training images; the rate falls tenfold after 60 % of them.
        steps: Updates; 0 takes ``epochs``.
        batch_size: Images per update.
        lr: Of RAdam.
        kl_weight: Of the term from text to image; 0 leaves it out.
        calibrated: Weigh logits by the distance of ranks; else both terms are plain (the paper's
            ablation of its loss).
        fine: Learn the fine head; else the value is sum_k p_k c_k (the ablation of the head).
        flips: Draw from every view of the cache.
    """

    context: str = ""
    words: tuple[str, ...] = ()
    starts: tuple[float, ...] = ()
    epochs: int = 100
    steps: int = 0
    batch_size: int = 32
    lr: float = 1e-3
    kl_weight: float = 1.0
    calibrated: bool = True
    fine: bool = True
    flips: bool = True
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        require(
            len(self.words) == len(self.starts),
            f"{quantity(len(self.words), 'word')} and {quantity(len(self.starts), 'start')}; "
            "give equally many",
        )
        require(
            len(self.words) != 1 and list(self.starts) == sorted(set(self.starts)),
            f"starts of two or more classes, ascending; found {list(self.starts)}",
        )
        self._require_at_least(1, "epochs", "batch_size")
        self._require_at_least(0, "steps", "kl_weight")
        self._require_positive("lr")

    def coarse_classes(self, data: FoldData) -> tuple[tuple[str, ...], Array]:
        """Return words and starts float64 [K] of the coarse classes of a fold."""
        if self.words:
            return self.words, np.asarray(self.starts, np.float64)
        if len(data.class_values) <= MOST_CLASSES and not data.binned:
            shared = len(common_words(data.class_prompts).split())
            rest = tuple(" ".join(prompt.split()[shared:]) for prompt in data.class_prompts)
            whole = bool(self.context) or not shared or not all(rest)
            return data.class_names if whole else rest, data.class_values
        low, high = data.value_range
        if tells_age(data.query):
            ends = (*AGE_STARTS[1:], np.inf)
            found = [k for k, end in enumerate(ends) if AGE_STARTS[k] < high and end > low]
            if len(found) > 1:
                words = tuple(AGE_WORDS[k] for k in found)
                return words, np.array([AGE_STARTS[k] for k in found])
        words = steps_of(data.query)
        return words, np.linspace(low, high, len(words) + 1)[:-1]

    def fit(self, data: FoldData) -> NumClipPredictor:
        """Learn the adapter, the class words and the fine head."""
        import torch

        from adapter.methods.loop import Schedule, batch_of, run_steps
        from adapter.methods.losses import text_image_kl
        from adapter.methods.numclip_network import NumClipNetwork
        from adapter.methods.tuning import TrainingImages

        text = data.text()
        words, starts = self.coarse_classes(data)
        context = self.context or common_words(data.class_prompts) or "a photo of"
        ids = text.tokenize([f"{context} {word.rstrip('.')}." for word in words])  # [K, T]
        first = text.embed(ids)  # [K, T, D]
        size = int(text.word_mask(text.tokenize([context])).sum())
        place = text.word_mask(ids).cumsum(dim=1)  # [K, T]; the full stop is the last
        learned = ((place > size) & (place < place[:, -1:]))[..., None]  # [K, T, 1]
        ranks = torch.nn.Parameter(first.clone())  # [K, T, D]
        images = TrainingImages(data, text.device, flips=self.flips, unit=False)
        network = NumClipNetwork(
            images.vectors.shape[-1], len(words), ratio=RATIO, least=LEAST, seed=data.seed
        ).to(text.device)
        if not self.fine:  # then delta is 0
            torch.nn.init.zeros_(network.outer.weight)
            network.outer.requires_grad_(False)
        low = float(starts[0])
        places = torch.tensor(starts - low, dtype=torch.float32, device=text.device)  # [K]
        values = torch.tensor(data.train.values - low, dtype=torch.float32, device=text.device)
        numbers = np.searchsorted(starts, data.train.values, side="right") - 1
        classes = torch.from_numpy(numbers.clip(min=0)).to(text.device)  # [n]
        steps = Schedule.of(self, len(classes)).steps

        def prompts() -> Tensor:
            return text.encode_embedded(ids, torch.where(learned, ranks, first))  # [K, E]

        def loss_of(step: int) -> Tensor:
            positions = batch_of(len(classes), self.batch_size, step, data.seed)
            batch = torch.from_numpy(positions).to(text.device)
            logits = network.logits(images.batch(positions, step), prompts(), text.logit_scale)
            labels = classes[batch]
            factors: Tensor | None = None
            if self.calibrated:
                loss = ranking_calibrated_entropy(logits, labels)
                factors = text_image_factors(logits.shape[1], labels)
            else:
                loss = torch.nn.functional.cross_entropy(logits, labels)
            if self.kl_weight:
                loss = loss + self.kl_weight * text_image_kl(logits, labels, factors)
            error = (network.values(logits, places) - values[batch]).abs().mean()
            return loss + error

        parameters = {"ranks": ranks, **dict(network.named_parameters())}
        run_steps(
            data,
            parameters,
            torch.optim.RAdam(parameters.values(), lr=self.lr),
            loss_of,
            steps,
            factor=lambda step: 1.0 if step < 0.6 * steps else 0.1,
        )
        with torch.no_grad():
            encoded = prompts().cpu().numpy()
        arrays = {
            name.replace(".", "_"): value.detach().cpu().numpy().astype(np.float64)
            for name, value in network.named_parameters()
        }
        return NumClipPredictor(
            prompts=unit_rows(encoded),
            starts=starts,
            class_values=data.class_values,
            logit_scale=text.logit_scale,
            **arrays,
        )

    def quick(self) -> NumClip:
        """Return the same with few steps."""
        return replace(self, steps=60, lr=5 * self.lr)


@dataclass(frozen=True, kw_only=True)
class NumClipPredictor:
    """The fitted adapter, prompts and fine head.

    Attributes:
        prompts: float64 [K, E], unit length, of the coarse classes.
        starts: float64 [K], the value that each begins with.
        class_values: float64 [C], the fold's own classes, for probabilities where they are the
            coarse ones.
        logit_scale: Factor of the cosines.
        down_weight: float64 [E // 4, E].
        up_weight: float64 [E, E // 4].
        inner_weight: float64 [2 K, K].
        inner_bias: float64 [2 K].
        outer_weight: float64 [K, 2 K].
        outer_bias: float64 [K].
    """

    prompts: Array
    starts: Array
    class_values: Array
    logit_scale: float
    down_weight: Array
    up_weight: Array
    inner_weight: Array
    inner_bias: Array
    outer_weight: Array
    outer_bias: Array

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict the fine head's value, with probabilities where the classes are the coarse."""
        f = vectors.of("pooled", rows)  # [n, E]
        adapted = np.maximum(np.maximum(f @ self.down_weight.T, 0) @ self.up_weight.T, 0)
        images = unit_rows(RATIO * adapted + (1 - RATIO) * f)
        logits = self.logit_scale * images @ self.prompts.T  # [n, K]
        inner = np.maximum(logits @ self.inner_weight.T + self.inner_bias, 0)  # [n, 2 K]
        delta = np.tanh(inner @ self.outer_weight.T + self.outer_bias)  # [n, K]
        shares = softmax(logits)
        low = float(self.starts[0])
        moved = (self.starts - low) / np.maximum(1 + delta, LEAST)  # [n, K]
        values = low + (shares * moved).sum(axis=1)
        same = np.array_equal(self.starts, self.class_values)
        return Prediction(
            values=values,
            likeliest=self.starts[shares.argmax(axis=1)],
            probabilities=shares if same else None,
        )


def common_words(prompts: Sequence[str]) -> str:
    """Return the words that all prompts begin with; empty where they differ from the first on."""
    shared = []
    for words in zip(*(prompt.split() for prompt in prompts), strict=False):
        if len(set(words)) > 1:
            break
        shared.append(words[0])
    return " ".join(shared)


def ranking_calibrated_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy over logits that grow with the distance of ranks (FCRC, image to text).

    w_ij = |y_i - j| (d - 1) / sum_k |y_i - k| for j != y_i, and 1 at j = y_i; d = K. So far ranks
    weigh more, and the mean weight of the others is 1.

    Args:
        logits: [B, K], scaled cosines.
        classes: int64 [B].
    """
    import torch

    count = logits.shape[1]
    gaps = (classes[:, None] - torch.arange(count, device=logits.device)[None]).abs()  # [B, K]
    weights = gaps * (count - 1) / gaps.sum(dim=1, keepdim=True)
    return torch.nn.functional.cross_entropy(torch.where(gaps == 0, 1.0, weights) * logits, classes)


def text_image_factors(count: int, classes: Tensor) -> Tensor:
    """Factors u [K, B] of the ranking-calibrated term from text to image.

    u_kb = |k - y_b| (d - 1) / sum_b |k - y_b|, and 1 where y_b = k or where the class is absent
    from the batch. As published, d - 1 stands where the number of negatives would.

    Args:
        count: K.
        classes: int64 [B].
    """
    import torch

    ranks = torch.arange(count, device=classes.device)[:, None]  # [K, 1]
    gaps = (ranks - classes[None]).abs().float()  # [K, B]
    total = gaps.sum(dim=1, keepdim=True).clamp(min=1)
    present = (gaps == 0).any(dim=1, keepdim=True)  # [K, 1]
    return torch.where((gaps == 0) | ~present, 1.0, gaps * (count - 1) / total)
