"""The ranking-aware adapter: patch tokens and a prompt in, scores and pair logits out.

    adapter = RankingAdapter(AdapterConfig.released(), seed=0)
    scores = adapter(image_tokens, text_tokens)              # [B]
    logits = adapter.compare(image_tokens, text_tokens)      # [B, B]

Parameter names are those of the published checkpoints, without their ``adapter.`` prefix.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from adapter.errors import AdapterError, CheckpointError, CheckpointNotFoundError, ConfigError
from adapter.network.config import AdapterConfig
from adapter.network.fusion import CrossModalEncoder, PostEncoder
from adapter.network.heads import MlpHead
from adapter.network.ranking import PairSummary, pair_relation
from featcache.storage.durable import make_folders, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS = "adapter.safetensors"
SETTINGS = "adapter.json"
FORMAT = 1


class AdapterOutput(NamedTuple):
    """Both heads' outputs; None for a head that is switched off.

    Attributes:
        scores: [B].
        pair_logits: [B, B]; entry (i, j) speaks for image i standing above image j.
    """

    scores: Tensor | None
    pair_logits: Tensor | None


class Encoding(NamedTuple):
    """Both heads' results before images meet; None for a head that is switched off.

    Attributes:
        scores: [B].
        summary: What each image brings to a pair.
    """

    scores: Tensor | None
    summary: PairSummary | None


class RankingAdapter(nn.Module):
    """The adapter of arXiv 2412.06760, in the form that the configuration names.

    Args:
        config: Architecture.
        seed: Determines the initial weights; the global generators stay as they are.
    """

    image_mean: Tensor  # float32 [C], with ``standardize`` alone, as is the next
    image_scale: Tensor

    def __init__(self, config: AdapterConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self._build(config)

    def _build(self, config: AdapterConfig) -> None:
        width, prompts = config.width, config.prompt_tokens
        if config.standardize:
            self.register_buffer("image_mean", torch.zeros(config.image_dim))
            self.register_buffer("image_scale", torch.ones(config.image_dim))
        if config.maps_image:
            self.image_proj = nn.Linear(config.image_dim, width)
            if config.standardize:  # the usual start would shrink them again
                nn.init.normal_(self.image_proj.weight, std=config.image_dim**-0.5)
        if config.maps_text:
            self.text_proj = nn.Linear(config.text_dim, width)
        if prompts:
            scalar = config.prompt_form == "scalar"
            scale = prompts**-0.5 if scalar else width**-0.5
            shape = (1, prompts) if scalar else (prompts, width)
            self.learnable_text_tokens = nn.Parameter(torch.randn(shape) * scale)
        self.crossmodal_block = CrossModalEncoder(config)
        self.post_fuse_block = PostEncoder(config)
        if config.pair_head != "none":
            if config.pair_head in ("relational", "product", "concat"):
                tokens = torch.randn(config.relation_tokens, width) * width**-0.5
                self.reg_tokens = nn.Parameter(tokens)
            self.reg_token_pooler = pair_relation(config)
            self.pair_regressor = MlpHead(width, config.pair_layers, normalize_input=True)
        if config.score_head:
            self.reg_ln = nn.LayerNorm(width)
            self.regressor = MlpHead(width, config.score_layers)

    def forward(self, image_tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """Score images for a prompt; higher means more.

        Args:
            image_tokens: [B, P, C].
            text_tokens: [T, D] for one prompt, or [B, T, D] for a prompt per image.

        Returns:
            Scores [B], standardized: (label - mean) / standard deviation of the task, unless the
            run was trained with ``target_scale="none"``. ``Run.scales`` holds both numbers.

        Raises:
            ConfigError: The adapter has no regression head, or widths do not fit.
        """
        self._require(self.config.score_head, "regression head", "compare()")
        return self.score(self.encode_tokens(image_tokens, text_tokens))

    def compare(self, image_tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """Compare all images of a batch: pair logits [B, B], arguments as in :meth:`forward`."""
        summary = self.summarize(image_tokens, text_tokens)
        return self.compare_summaries(summary, summary)

    def outputs(self, image_tokens: Tensor, text_tokens: Tensor) -> AdapterOutput:
        """Compute scores and pair logits in one pass, arguments as in :meth:`forward`."""
        scores, summary = self.encode(image_tokens, text_tokens)
        logits = None if summary is None else self.compare_summaries(summary, summary)
        return AdapterOutput(scores, logits)

    def encode(self, image_tokens: Tensor, text_tokens: Tensor) -> Encoding:
        """Do all that concerns images one by one, arguments as in :meth:`forward`.

        The summary goes to :meth:`compare_summaries` or :meth:`ordered_pair_logits`.
        """
        tokens = self.encode_tokens(image_tokens, text_tokens)
        scores = self.score(tokens) if self.config.score_head else None
        summary = self._summarize(tokens) if self.config.pair_head != "none" else None
        return Encoding(scores, summary)

    def summarize(self, image_tokens: Tensor, text_tokens: Tensor) -> PairSummary:
        """Return what each image brings to a pair, arguments as in :meth:`forward`."""
        self._require(self.config.pair_head != "none", "ranking head", "forward()")
        return self._summarize(self.encode_tokens(image_tokens, text_tokens))

    def compare_summaries(self, a: PairSummary, b: PairSummary, block: int | None = None) -> Tensor:
        """Compare each image of a with each of b: pair logits [n, m].

        Args:
            a: Summary of n images; of several prompts, as :meth:`encode_every` returns it, the
                logits are [Q, n, m].
            b: Summary of m images, likewise.
            block: Rows of pairs computed at a time, under one prompt; all when left out. Memory
                between layers is a few times block x m x d' numbers.
        """
        if block is None or block >= len(a):
            return self._pair_logits(self.reg_token_pooler.combine(a, b))
        parts = [
            self._pair_logits(self.reg_token_pooler.combine(a[start : start + block], b))
            for start in range(0, len(a), block)
        ]
        return torch.cat(parts)

    def compare_both_ways(self, a: PairSummary, b: PairSummary) -> tuple[Tensor, Tensor]:
        """Compare each image of a with each of b, and each of b with each of a.

        What the relational tokens say about a pair is computed once.

        Returns:
            Two tensors [n, m] of pair logits: that the image of a stands first, and the other's.
        """
        pairs = self.reg_token_pooler.combine(a, b)  # [n, m, D or 2 D]
        return self._pair_logits(pairs), self._pair_logits(self.reg_token_pooler.reverse(pairs))

    def ordered_pair_logits(self, summary: PairSummary, first: Tensor, second: Tensor) -> Tensor:
        """Compare chosen pairs only: the pair MLP sees no others.

        Args:
            summary: Summary of B images.
            first: int64 [K], positions of the first images.
            second: int64 [K], positions of the second images.

        Returns:
            Pair logits [K].
        """
        combined = self.reg_token_pooler.combine(summary, summary)  # [B, B, D]
        chosen = combined.flatten(0, 1).index_select(0, first * len(summary) + second)  # [K, D]
        return self._pair_logits(chosen)

    def encode_every(self, image_tokens: Tensor, text_tokens: Tensor) -> Encoding:
        """Encode each image under each of several prompts.

        The same as :meth:`encode` once per prompt, in less time: layers before the first prompt
        run once per image.

        Args:
            image_tokens: [B, P, C].
            text_tokens: [Q, T, D].

        Returns:
            Scores [Q, B]; the tensors of the summary are [Q, B, ...].
        """
        tokens = self._encode_tokens(image_tokens, text_tokens, every=True)  # [Q * B, P, d']
        shape = (len(text_tokens), len(image_tokens))
        scores = self.score(tokens).view(shape) if self.config.score_head else None
        if self.config.pair_head == "none":
            return Encoding(scores, None)
        summary = self._summarize(tokens)
        return Encoding(scores, summary.apply(lambda x: x.view(*shape, *x.shape[1:])))

    def encode_tokens(self, image_tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """Encode patch tokens under a prompt (z' of the paper): [B, P, C] → [B, P, d']."""
        self._check_inputs(image_tokens, text_tokens)
        return self._encode_tokens(image_tokens, text_tokens)

    def _encode_tokens(
        self, image_tokens: Tensor, text_tokens: Tensor, *, every: bool = False
    ) -> Tensor:
        text = text_tokens[None] if text_tokens.ndim == 2 else text_tokens  # [1 or B, T, D]
        if self.config.standardize:
            image_tokens = (image_tokens - self.image_mean) / self.image_scale
        if self.config.maps_image:
            image_tokens = self.image_proj(image_tokens)
        if self.config.maps_text:
            text = self.text_proj(text)
        if self.config.prompt_tokens:
            learned: Tensor = self.learnable_text_tokens
            if self.config.prompt_form == "scalar":
                learned = learned.T.expand(-1, self.config.width)  # [1, n] → [n, d']
            learned = learned.to(text.dtype).expand(len(text), -1, -1)
            before = self.config.prompt_position == "before"
            text = torch.cat([learned, text] if before else [text, learned], dim=1)
        encoded = self.crossmodal_block(image_tokens, text, every=every)
        return cast("Tensor", self.post_fuse_block(encoded))

    def score(self, tokens: Tensor) -> Tensor:
        """Score encoded tokens [B, P, d']: [B] (paper, the regression head)."""
        normed = self.reg_ln(tokens)
        pooled = normed.sum(1) if self.config.score_pool == "sum" else normed.mean(1)  # [B, d']
        return cast("Tensor", self.regressor(pooled))

    def _summarize(self, tokens: Tensor) -> PairSummary:
        return self.reg_token_pooler.summarize(tokens, getattr(self, "reg_tokens", None))

    def _pair_logits(self, combined: Tensor) -> Tensor:
        return cast("Tensor", self.pair_regressor(self.reg_token_pooler.project(combined)))

    def _require(self, there: bool, head: str, instead: str) -> None:
        if not there:
            raise ConfigError(f"this adapter has no {head}; use {instead}")

    def _check_inputs(self, image_tokens: Tensor, text_tokens: Tensor) -> None:
        """Refuse widths and shapes that do not fit, before torch does it less clearly."""
        c = self.config
        if image_tokens.ndim != 3 or image_tokens.shape[-1] != c.image_dim:
            raise ConfigError(
                f"image tokens must be [B, P, {c.image_dim}], not {list(image_tokens.shape)}; "
                "the adapter and the cache differ in width"
            )
        fits = text_tokens.ndim == 2 or (
            text_tokens.ndim == 3 and text_tokens.shape[0] in (1, image_tokens.shape[0])
        )
        if not fits or text_tokens.shape[-1] != c.text_dim:
            raise ConfigError(
                f"text tokens must be [T, {c.text_dim}] or [{image_tokens.shape[0]}, T, "
                f"{c.text_dim}], not {list(text_tokens.shape)}"
            )

    def save(self, folder: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write ``adapter.safetensors`` and ``adapter.json``, each atomically and durably.

        Args:
            folder: Made when it is not there.
            extra: JSON values to keep beside the configuration; :func:`read_settings` returns
                them.
        """
        folder = Path(folder)
        make_folders(folder)
        state = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        write_bytes(folder / WEIGHTS, save(state))
        write_json(
            folder / SETTINGS,
            {"format": FORMAT, "config": self.config.to_dict(), "extra": dict(extra or {})},
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote, in evaluation mode, on the CPU.

        Raises:
            CheckpointNotFoundError: One of the two files is missing.
            CheckpointError: A file is damaged, or names or shapes do not fit.
        """
        folder = Path(folder)
        config, _ = read_settings(folder)
        path = folder / WEIGHTS
        if not path.is_file():
            raise CheckpointNotFoundError(f"{path}: not there; is {folder} a run folder?")
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from error
        adapter = cls(config)
        adapter.load_weights(state, str(path))
        return adapter.eval()

    def load_weights(self, state: Mapping[str, Tensor], source: str) -> None:
        """Take weights after checking every name and shape.

        Args:
            state: Tensors by parameter name.
            source: Where they come from, for the message.

        Raises:
            CheckpointError: Something is missing, unexpected or of another shape.
        """
        expected = self.state_dict()
        problems = [
            f"missing: {name} {list(expected[name].shape)}"
            for name in expected
            if name not in state
        ]
        problems += [f"unexpected: {name}" for name in state if name not in expected]
        problems += [
            f"{name}: shape {list(state[name].shape)}, expected {list(expected[name].shape)}"
            for name in expected
            if name in state and state[name].shape != expected[name].shape
        ]
        if problems:
            shown = "\n".join(f"  {line}" for line in problems[:20])
            more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
            raise CheckpointError(f"{source}: does not fit this adapter\n{shown}{more}")
        self.load_state_dict(dict(state))


def read_settings(folder: str | Path) -> tuple[AdapterConfig, dict[str, Any]]:
    """Read ``adapter.json``: the configuration, and what was saved as ``extra``.

    Raises:
        CheckpointNotFoundError: There is no such file.
        CheckpointError: It is damaged, of another format, or holds an impossible configuration.
    """
    path = Path(folder) / SETTINGS
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"{path}: not there; is {folder} a run folder?") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{path}: format {found!r}, this version reads {FORMAT}")
    try:
        return AdapterConfig.from_dict(content["config"]), dict(content["extra"])
    except (AdapterError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
