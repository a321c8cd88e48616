"""Prompts with learnable token embeddings, through a frozen OpenCLIP text tower.

The learned vectors take the place of token embeddings, and everything after them is OpenCLIP's own
``encode_text``: positions, masks, pooling, projection. They are put there by a hook on the
token embedding, so that flat models (``CLIP``) and models with a tower of their own
(``CustomTextCLIP``) go the same way. Only gradients pass through the tower; its weights stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from featcache.backbone import Backbone

PLACEHOLDER = "x"  # a word of one token; what it stands for is replaced


@dataclass(frozen=True, kw_only=True)
class Template:
    """Prompts with room for learned vectors.

    Attributes:
        ids: int64 [K, T], tokens, with placeholders where learned vectors go.
        slots: int64 [K, S], positions of the learned vectors.
    """

    ids: Tensor
    slots: Tensor


class SoftText:
    """The text half of a frozen backbone, for plain prompts and for learned ones.

    Attributes:
        width: Channels of a token embedding.
        device: Where the tower is.
        logit_scale: exp(logit scale), the factor that CLIP learned for its cosines.
    """

    def __init__(self, backbone: Backbone) -> None:
        """Take the tower of a loaded backbone; its weights get no gradients."""
        self._model: Any = backbone.model
        self._tokenize = backbone._text.tokenize  # refuses prompts that are too long
        tower: Any = getattr(self._model, "text", self._model)
        self._embedding: torch.nn.Embedding = tower.token_embedding
        self.width = int(self._embedding.weight.shape[1])
        self.device = backbone.device
        self.logit_scale = float(backbone.model.get_parameter("logit_scale").exp().mean())

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return token ids int64 [n, T]; raises BackboneError for a prompt that is too long."""
        ids: Tensor = self._tokenize(list(prompts))
        return ids.to(self.device)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: [n, T] -> float32 [n, T, D], without gradients."""
        return self._embedding.weight.detach()[ids]

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Encode plain prompts: float32 [n, E], normalized, without gradients."""
        with torch.no_grad():
            pooled: Tensor = self._model.encode_text(self.tokenize(prompts), normalize=False)
            return torch.nn.functional.normalize(pooled.float(), dim=-1)

    def encode_soft(self, template: Template, learned: Tensor) -> Tensor:
        """Encode prompts with learned vectors in their slots.

        Args:
            template: K prompts with S slots each.
            learned: float32 [K, S, D].

        Returns:
            float32 [K, E], normalized; gradients reach ``learned``.
        """
        rows = torch.arange(len(template.ids), device=self.device)[:, None]  # [K, 1]
        words = self.embed(template.ids).index_put((rows, template.slots), learned)  # [K, T, D]
        return self.encode_embedded(template.ids, words)

    def encode_embedded(self, ids: Tensor, words: Tensor) -> Tensor:
        """Encode prompts whose token embeddings are given.

        Args:
            ids: int64 [K, T], the tokens, which say where each prompt ends.
            words: float32 [K, T, D], what takes the place of their embeddings.

        Returns:
            float32 [K, E], normalized; gradients reach ``words``.
        """

        def replace(module: Any, inputs: Any, output: Tensor) -> Tensor:
            return words.to(output.dtype)

        handle = self._embedding.register_forward_hook(replace)
        try:
            pooled: Tensor = self._model.encode_text(ids, normalize=False)  # [K, E]
        finally:
            handle.remove()
        return torch.nn.functional.normalize(pooled.float(), dim=-1)

    def word_mask(self, ids: Tensor) -> Tensor:
        """Return bool [K, T], true between the start token and the end token of each prompt."""
        end = self.tokenize([PLACEHOLDER])[0, 2]
        places = torch.arange(ids.shape[1], device=self.device)[None]  # [1, T]
        stops = (ids == end).int().argmax(dim=1)[:, None]  # [K, 1], the first end token
        return (places > 0) & (places < stops)

    def template(
        self, before: int, texts: Sequence[str], after: int = 0, stop: str = "."
    ) -> Template:
        """Tokenize ``[v]...[v] text [v]...[v].`` with ``before`` and ``after`` learned vectors.

        An empty text gives a prompt of learned vectors only; ``stop`` is what ends each prompt, a
        text of one token, or empty.
        """
        rooms = [" ".join([PLACEHOLDER] * count) for count in (before, after)]
        prompts = [" ".join(filter(None, [rooms[0], text, rooms[1]])) + stop for text in texts]
        ids = self.tokenize(prompts)  # [K, T]
        word, end = self.tokenize([PLACEHOLDER])[0, 1:3].tolist()
        slots = []
        for row in ids.tolist():
            last = row.index(end) - (1 if stop else 0)  # position behind the learned vectors
            slots.append([*range(1, 1 + before), *range(last - after, last)])
        found = torch.tensor(slots, dtype=torch.int64, device=self.device)  # [K, S]
        if not bool((ids.gather(1, found) == word).all()):
            raise ConfigError(
                "this backbone's tokenizer does not give one token for each placeholder; prompt "
                "tuning needs OpenCLIP's own tokenizer"
            )
        return Template(ids=ids, slots=found)
