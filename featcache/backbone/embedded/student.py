"""The CLIP in training: its two towers, and two linear heads that are thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import open_clip
import torch
from torch import nn
from torch.nn import functional

from featcache.backbone.embedded import NAME, losses
from featcache.backbone.loading import load_model
from featcache.backbone.spec import BackboneSpec
from featcache.backbone.towers import make_tower
from featcache.images.preprocess import Preprocessing, normalize

if TYPE_CHECKING:
    from torch import Tensor

    from featcache.backbone.embedded.batches import Batch
    from featcache.backbone.towers import Tower

_LENGTHS = 4  # groups of texts by length


class Student(nn.Module):
    """OpenCLIP's model of `NAME`'s config, with random weights to begin with.

    The heads read the same tokens that an extraction stores, the tower's locations, projected:
    one says which objects are near a location, the other how bright and colored it is there.

    Attributes:
        clip: OpenCLIP's module; its state is what is shipped.
        size: Width and height of a picture, pixels.
        grid: Width and height of the tower's last map, locations.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        model = load_model(BackboneSpec(name=NAME, pretrained=f"seed:{seed}"))[0]
        self.clip = model.train().requires_grad_(True)
        visual, text = cast("Any", model.visual), cast("Any", model.text)
        # Words that no caption has keep an embedding of zeros, whatever is trained.
        nn.init.zeros_(text.token_embedding.weight)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.count = nn.Linear(visual.output_dim, losses.DENSE)
            self.light = nn.Linear(visual.output_dim, losses.LIGHT)
        self._tower = (make_tower(visual, NAME),)  # hidden: its weights are self.clip's
        self._text = (text,)
        self._mask: Tensor = text.attn_mask  # [T, T]
        config = visual.preprocess_cfg
        height: int = config["size"] if isinstance(config["size"], int) else config["size"][0]
        self.preprocessing = Preprocessing(
            size=height, mean=tuple(config["mean"]), std=tuple(config["std"])
        )
        self.size: int = height
        self.grid: int = self.tower.grid[0]
        self.tokenizer = open_clip.get_tokenizer(NAME)

    @property
    def tower(self) -> Tower:
        """The image tower, which gives locations as well as the pooled embedding."""
        return self._tower[0]

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the factor of the logits."""
        return cast("Tensor", self.clip.logit_scale)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every loss of a batch, unweighted."""
        device = self.count.weight.device
        pixels = normalize(batch.pixels.to(device), self.preprocessing)  # [B, 3, S, S]
        locations, pooled = self.tower(pixels.contiguous(memory_format=torch.channels_last))
        tokens = self.tower.project(locations)  # [B, P, E]
        light = losses.light_target(batch.pixels.to(device), self.grid)  # [B, P, LIGHT]
        text = self._encode_texts(self.tokenizer(batch.texts).to(device))  # [T + Q, E]
        similarity = functional.normalize(pooled, dim=-1) @ functional.normalize(text, dim=-1).T
        truth = batch.truth.to(device)
        captions = truth.shape[1]
        logits = similarity[:, :captions] * self.log_scale.exp()  # [B, T]
        return {
            "contrastive": losses.contrastive(logits, truth),
            "matching": losses.matching(logits + cast("Tensor", self.clip.logit_bias), truth),
            "ordering": losses.ordering(similarity[:, captions:], batch.values.to(device)),
            "counting": losses.counting(self.count(tokens), batch.dense.to(device)),
            "light": functional.mse_loss(self.light(tokens), light),
        }

    def _encode_texts(self, ids: Tensor) -> Tensor:
        """Encode short and long texts apart, without their padding, which attention never sees.

        Args:
            ids: [n, T].
        """
        (tower,), mask = self._text, self._mask.to(ids.device)
        lengths = (ids != 0).sum(1)
        order = lengths.argsort()
        encoded = []
        for part in order.chunk(_LENGTHS):
            longest = int(lengths[part].max())
            tower.attn_mask = mask[:longest, :longest]
            encoded.append(tower(ids[part, :longest]))
        tower.attn_mask = mask
        return torch.cat(encoded)[order.argsort()]
