"""`Backbone`: the frozen model that images and prompts pass through, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from featcache.backbone.checkpoint import load_text_weights
from featcache.backbone.digest import weights_digest
from featcache.backbone.loading import load_model
from featcache.backbone.projection import check_token_pool, make_projection, pool_tokens
from featcache.backbone.text import TextTower
from featcache.backbone.towers import make_tower
from featcache.devices import autocast_for, choose_precision, pick_device
from featcache.errors import BackboneError
from featcache.images.preprocess import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from featcache.backbone.spec import BackboneSpec
    from featcache.devices import Precision

_PROMPT_BATCH = 64  # bounds memory; prompts are few


class ImageFeatures(NamedTuple):
    """Features of a batch of images, float32: tokens [B, P, C], pooled [B, E]."""

    tokens: Tensor
    pooled: Tensor


class PromptFeatures(NamedTuple):
    """Features of a list of prompts, float32: tokens [n, T, D], pooled [n, E]."""

    tokens: Tensor
    pooled: Tensor


class Backbone:
    """A frozen OpenCLIP model, its token projection and its preprocessing.

    Attributes:
        spec: What was asked for.
        preprocessing: The model's own size, mean and std, resized as the spec says, bicubic.
        identity: What determines the features, as JSON values: ``architecture``, its ``config``,
            the digest of all ``weights``, ``projection``, ``token_pool``; where they are not the
            default, ``positions`` and ``tokens``; and ``text_weights``, the digest of the text
            tower's, where a file of its own was given for them.
        model: The OpenCLIP module, in eval mode, without gradients.
        device: Where it is.
        precision: ``fp32``, or the dtype of mixed precision; weights stay float32.
        num_tokens: P, after pooling; 0 where the spec asks for pooled embeddings alone.
        token_dim: C; then 0 as well.
        pooled_dim: E.
        text_dim: D.
        context_length: T.
    """

    def __init__(
        self, spec: BackboneSpec, *, device: str | torch.device, precision: Precision
    ) -> None:
        """Load everything; see `load_backbone`."""
        self.device = pick_device(device)
        self.precision = choose_precision(precision, self.device)
        self.spec = spec
        model, config = load_model(spec)
        self._tower = make_tower(model.visual, spec.name, spec.positions)
        if spec.resize != "squash" and not self._tower.any_size:
            raise BackboneError(f"--resize {spec.resize}: {spec.name} {self._tower.refusal}")
        self._text = TextTower(model, spec)
        check_token_pool(self._tower.grid, spec.token_pool)
        self.pooled_dim = int(config["embed_dim"])
        self._linear, projection = make_projection(spec.projection, self._tower, self.pooled_dim)
        self.identity: dict[str, Any] = {
            "architecture": spec.name,
            "config": config,
            "weights": weights_digest(model.state_dict()),
            "projection": projection,
            "token_pool": spec.token_pool,
        }
        if spec.positions != "default":
            self.identity["positions"] = spec.positions
        if spec.tokens != "patch":
            self.identity["tokens"] = spec.tokens
        if spec.text_weights is not None:
            # After the digest above, which so stays that of the public model.
            self.identity["text_weights"] = load_text_weights(model, Path(spec.text_weights))
        self.preprocessing = _preprocessing(model, spec, self._tower.stride)
        self.model: nn.Module = model.to(self.device)
        if self._linear is not None:
            self._linear.to(self.device)
        self.num_tokens = self.token_dim = 0
        if spec.tokens == "patch":
            height, width = self._tower.grid
            self.num_tokens = height * width // spec.token_pool**2
            with torch.inference_mode():
                probe = torch.zeros(1, 1, self._tower.width, device=self.device)  # [1, 1, W]
                self.token_dim = int(self._project(probe).shape[-1])
        self.text_dim = self._text.width
        self.context_length = self._text.context_length

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> ImageFeatures:
        """Encode normalized images in one forward pass.

        Args:
            images: float32 [B, 3, H, W], from `featcache.images.preprocess.normalize`, on any
                device; H = W = S where the preprocessing squashes.

        Returns:
            Patch tokens [B, P, C] and pooled embeddings [B, E] (OpenCLIP's `encode_image`, but
            for other positions), float32 on the backbone's device, not L2-normalized.

        Raises:
            BackboneError: If the images are not of the backbone's size, or the tower does not give
                what its config says.
        """
        size, least = self.preprocessing.size, self.preprocessing.min_side
        one_size = self.preprocessing.one_size
        if images.ndim != 4 or not (
            images.shape[1:] == (3, size, size)
            if one_size
            else images.shape[1] == 3 and min(images.shape[2:]) >= least
        ):
            wanted = f"{size}, {size}" if one_size else f"H, W >= {least}"
            raise BackboneError(f"images of shape {list(images.shape)}, expected [B, 3, {wanted}]")
        with autocast_for(self.precision, self.device):
            locations, pooled = self._tower(images.to(self.device))  # [B, h * w, W], [B, E]
            if self.spec.tokens == "none":
                self._require_width(pooled)
                return ImageFeatures(locations.new_empty(len(pooled), 0, 0), pooled.float())
            tokens = self._project(locations)  # [B, h * w, C]
        height, width = self._tower.grid
        if tokens.shape[1] != height * width:
            raise BackboneError(
                f"{self.spec.name}: the tower gave tokens {list(tokens.shape)}, its config says "
                f"[B, {height * width}, C]"
            )
        self._require_width(pooled)
        tokens = pool_tokens(tokens.float(), self._tower.grid, self.spec.token_pool)  # [B, P, C]
        return ImageFeatures(tokens, pooled.float())

    def _require_width(self, pooled: Tensor) -> None:
        if pooled.shape[1:] != (self.pooled_dim,):
            raise BackboneError(
                f"{self.spec.name}: the tower gave pooled {list(pooled.shape)}, its config says "
                f"[B, {self.pooled_dim}]"
            )

    @torch.inference_mode()
    def encode_prompts(self, prompts: list[str]) -> PromptFeatures:
        """Encode prompts, always in float32: there are few, and every image meets them.

        Returns:
            Prompt tokens [n, T, D] after the final LayerNorm, before the text projection, and
            pooled embeddings [n, E] (OpenCLIP's `encode_text`), float32 on the device.

        Raises:
            BackboneError: If a prompt is longer than the text tower reads.
        """
        batches = [
            self._text(prompts[start : start + _PROMPT_BATCH])
            for start in range(0, len(prompts), _PROMPT_BATCH)
        ]
        if not batches:
            return PromptFeatures(
                torch.empty(0, self.context_length, self.text_dim, device=self.device),
                torch.empty(0, self.pooled_dim, device=self.device),
            )
        tokens, pooled = zip(*batches, strict=True)
        return PromptFeatures(torch.cat(tokens).float(), torch.cat(pooled).float())

    def check_prompts(self, prompts: Iterable[str]) -> None:
        """Raise BackboneError where a prompt is longer than the text tower reads."""
        if different := sorted(set(prompts)):  # without any, the tokenizer is not needed
            self._text.tokenize(different)

    def _project(self, locations: Tensor) -> Tensor:
        """Apply the chosen token projection: [B, P, W] -> [B, P, C]."""
        if self._linear is not None:
            projected: Tensor = self._linear(locations)
            return projected
        return locations if self.spec.projection == "none" else self._tower.project(locations)


def load_backbone(
    spec: BackboneSpec, *, device: str | torch.device = "cpu", precision: Precision = "fp32"
) -> Backbone:
    """Load a frozen backbone.

    Args:
        spec: Which one.
        device: Where to run it: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
        precision: ``fp32``, ``bf16`` or ``fp16`` (mixed precision by autocast), or ``auto``:
            float32 on a CPU, bfloat16 on a GPU that has it, else float16.

    Raises:
        BackboneError: It cannot be loaded; the message says why, and what to do.
        ConfigError: There is no such device or precision.
    """
    return Backbone(spec, device=device, precision=precision)


def _preprocessing(model: Any, spec: BackboneSpec, stride: int) -> Preprocessing:
    """Take size, mean and std from the model; how to decode and resize is the spec's choice."""
    config = model.visual.preprocess_cfg
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise BackboneError(f"towers for images of {height} x {width} are not supported: no square")
    mean, std = tuple(config["mean"]), tuple(config["std"])
    fits = Preprocessing(
        size=int(height),
        mean=mean,
        std=std,
        resize=spec.resize,
        decode=spec.decode,
        color=spec.color,
    )
    return fits if fits.one_size else fits.replace(min_side=stride)
