"""Prompt tokens: a native OpenCLIP text tower's output at every position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer

from featcache.backbone.reasons import first_sentence
from featcache.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor

    from featcache.backbone.spec import BackboneSpec


class TextTower:
    """The text half of an OpenCLIP model, whether flat (`CLIP`) or in ``model.text``.

    Attributes:
        context_length: T, tokens per prompt, padding included.
        width: D, channels of a prompt token.
    """

    def __init__(self, model: Any, spec: BackboneSpec) -> None:
        """Check that the tower is native to OpenCLIP; nothing is downloaded yet."""
        tower: Any = getattr(model, "text", model)
        if tower is not model and not isinstance(tower, TextTransformer):
            raise BackboneError(
                f"{spec.name}: text towers of type {type(tower).__name__} are not supported; "
                "take a model whose text tower is OpenCLIP's own"
            )
        self._model = model
        self._spec = spec
        self._tokenizer: Any = None
        self.context_length = int(tower.context_length)
        self.width = int(tower.ln_final.weight.shape[0])

    def __call__(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode a batch of prompts.

        Returns:
            Tokens [n, T, D] after the final LayerNorm and before the text projection, padding
            positions included (the released adapter attends to them), and the pooled embeddings
            [n, E]; neither is L2-normalized.
        """
        ids = self.tokenize(prompts).to(next(self._model.parameters()).device)  # [n, T]
        output = self._model.forward_intermediates(
            text=ids, text_indices=1, normalize_intermediates=True, normalize=False
        )
        return output["text_intermediates"][-1], output["text_features"]

    def tokenize(self, prompts: list[str]) -> Tensor:
        """Return token ids int64 [n, T]; a prompt that does not fit is refused, not cut off."""
        if self._tokenizer is None:
            self._tokenizer = self._load_tokenizer()
        ids: Tensor = self._tokenizer(prompts, context_length=self.context_length)
        # Every tokenizer cuts what does not fit without a word. With room for one token more, a
        # prompt that fits gets one more padding, as the empty prompt has at its end.
        empty, *longer = self._tokenizer(["", *prompts], context_length=self.context_length + 1)
        for prompt, short, long in zip(prompts, ids, longer, strict=True):
            if not torch.equal(long, torch.cat([short, empty[-1:]])):
                raise BackboneError(
                    f"the prompt {prompt[:60]!r} has {self._length(prompt)} tokens and the text "
                    f"tower reads {self.context_length}: shorten it"
                )
        return ids

    def _length(self, prompt: str) -> str:
        """Return how long a prompt is that does not fit, where the tokenizer tells."""
        if isinstance(self._tokenizer, SimpleTokenizer):
            return str(len(self._tokenizer.encode(prompt)) + 2)  # start and end of text
        return f"more than {self.context_length}"

    def _load_tokenizer(self) -> Any:
        try:
            return open_clip.get_tokenizer(
                self._spec.name.replace("/", "-") if not self._spec.has_schema else self._spec.name
            )
        except (OSError, RuntimeError, ImportError) as error:
            raise BackboneError(
                f"the tokenizer of {self._spec.name} could not be loaded "
                f"({first_sentence(error)}); on a machine without a hub "
                "take a model with OpenCLIP's own tokenizer"
            ) from error
