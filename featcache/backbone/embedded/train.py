"""Train `drawn-scenes-clip` from scratch on drawn scenes.

    python -m featcache.backbone.embedded.train --state DIR --steps 8000

Batch k follows from (seed, k). Stopped? The same command goes on from the last checkpoint. The
learning rate rises, stays, and falls over the last ``--decay`` steps, so a run can be made longer
or brought to its end at any time by another ``--steps``.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from torch import nn
from torch.nn import functional

from featcache.backbone.embedded import NAME, losses
from featcache.backbone.embedded.batches import make_batch
from featcache.backbone.embedded.pool import Pool
from featcache.backbone.embedded.state import load_state, save_state
from featcache.backbone.loading import load_model
from featcache.backbone.spec import BackboneSpec
from featcache.backbone.towers import make_tower
from featcache.datasets.scenes.seeds import CLIP_TRAINING
from featcache.images.preprocess import Preprocessing, normalise

if TYPE_CHECKING:
    from torch import Tensor

    from featcache.backbone.embedded.batches import Batch
    from featcache.backbone.towers import Tower

STATE = "state.safetensors"
LOG = "log.jsonl"
WARMUP = 100  # steps


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training.

    Attributes:
        seed: One of `featcache.datasets.scenes.seeds.CLIP_TRAINING`.
        batch: Images per step.
        lr: Learning rate between its rise and its fall.
        weight_decay: Of AdamW, on matrices.
        reuse: How often each scene is seen, about.
        dense: Weight of the loss of counts at each location.
        ordering: Weight of the loss of queries.
    """

    seed: int = CLIP_TRAINING[0]
    batch: int = 64
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    reuse: int = 4
    dense: float = 1.0
    ordering: float = 1.0


class Student(nn.Module):
    """The CLIP in training, with a head that counts and is thrown away.

    The head reads the same tokens that an extraction stores: the tower's locations, projected.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.clip: Any = load_model(BackboneSpec(name=NAME, pretrained=f"seed:{seed}"))[0]
        self.clip.train().requires_grad_(True)
        # Words that no caption has keep an embedding of zeros, whatever is trained.
        nn.init.zeros_(self.clip.text.token_embedding.weight)
        self._tower = (make_tower(self.clip.visual, NAME),)  # hidden: its weights are self.clip's
        self.count = nn.Linear(self.clip.visual.output_dim, losses.DENSE)
        config = self.clip.visual.preprocess_cfg
        size = config["size"]
        self.preprocessing = Preprocessing(
            size=size if isinstance(size, int) else size[0],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )
        self._mask = self.clip.text.attn_mask
        self.tokenizer = open_clip.get_tokenizer(NAME)

    @property
    def tower(self) -> Tower:
        """The image tower, which gives locations as well as the pooled embedding."""
        return self._tower[0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every loss of a batch, unweighted."""
        device = self.count.weight.device
        pixels = normalise(batch.pixels.to(device), self.preprocessing)
        locations, pooled = self.tower(pixels.contiguous(memory_format=torch.channels_last))
        counts = self.count(self.tower.project(locations))  # [B, P, K]
        ids = self.tokenizer(batch.texts).to(device)
        text = self._encode_texts(ids)  # [T + Q, E]
        similarity = functional.normalize(pooled, dim=-1) @ functional.normalize(text, dim=-1).T
        truth = batch.truth.to(device)
        captions = truth.shape[1]
        logits = similarity[:, :captions] * self.clip.logit_scale.exp()  # [B, T]
        return {
            "contrastive": losses.contrastive(logits, truth),
            "matching": losses.matching(logits + self.clip.logit_bias, truth),
            "ordering": losses.ordering(similarity[:, captions:], batch.values.to(device)),
            "dense": losses.counting(counts, batch.dense.to(device)),
        }


    def _encode_texts(self, ids: Tensor) -> Tensor:
        """Encode short and long texts apart, without their padding, which attention never sees.

        Args:
            ids: [n, T].
        """
        tower, mask = self.clip.text, self._mask.to(ids.device)
        lengths = (ids != 0).sum(1)
        order = lengths.argsort()
        encoded = []
        for part in order.chunk(4):
            longest = int(lengths[part].max())
            tower.attn_mask = mask[:longest, :longest]
            encoded.append(tower(ids[part, :longest]))
        tower.attn_mask = mask
        return torch.cat(encoded)[order.argsort()]


def make_optimizer(student: Student, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; vectors, embeddings and the scale of the logits do not decay."""
    decays = {
        name
        for name, p in student.named_parameters()
        if p.ndim > 1 and "embedding" not in name
    }
    named = dict(student.named_parameters())
    return torch.optim.AdamW(
        [
            {"params": [named[n] for n in named if n in decays]},
            {"params": [named[n] for n in named if n not in decays], "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
        fused=True,
    )


def rate(step: int, steps: int, decay: int) -> float:
    """Factor of the learning rate: a rise over `WARMUP` steps, then 1, then a straight fall."""
    return min(1.0, (step + 1) / WARMUP, max(0.0, (steps - step) / max(decay, 1)))


def train(
    state: Path, config: TrainConfig, *, steps: int, decay: int, device: str = "cpu",
    checkpoint_every: int = 200, log_every: int = 20,
) -> Student:  # fmt: skip
    """Train, or go on training, until ``steps`` are done."""
    state.mkdir(parents=True, exist_ok=True)
    student = Student(config.seed % 2**31)
    student.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(student, config)
    header = load_state(state / STATE, student, optimizer) or {"step": 0, "seconds": 0.0}
    size, grid = student.preprocessing.size, student.tower.grid[0]
    sums: dict[str, float] = {}
    with Pool(state / "pool", config.seed, size) as pool, ThreadPoolExecutor(1) as ahead:

        def prepare(step: int) -> Batch:
            return make_batch(
                pool, config.seed, step, size=size, images=config.batch, grid=grid,
                reuse=config.reuse,
            )  # fmt: skip

        following = ahead.submit(prepare, header["step"])
        start = time.monotonic()
        for step in range(header["step"], steps):
            batch = following.result()
            if step + 1 < steps:
                following = ahead.submit(prepare, step + 1)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate(step, steps, decay)
            found = student(batch)
            loss = (
                found["contrastive"]
                + found["matching"]
                + config.ordering * found["ordering"]
                + config.dense * found["dense"]
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                student.clip.logit_scale.clamp_(0, 4.6)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            if (step + 1) % log_every == 0 or step + 1 == steps:
                now = time.monotonic()
                header["seconds"] += now - start
                line = {
                    "step": step + 1,
                    "seconds": round(header["seconds"], 1),
                    "lr": optimizer.param_groups[0]["lr"],
                    "scale": student.clip.logit_scale.exp().item(),
                    **{name: round(total / log_every, 4) for name, total in sums.items()},
                }
                sums, start = {}, now
                with (state / LOG).open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)
            if (step + 1) % checkpoint_every == 0 or step + 1 == steps:
                header["step"] = step + 1
                save_state(state / STATE, student, optimizer, header)
    return student


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--decay", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    args = parser.parse_args()
    train(args.state, TrainConfig(batch=args.batch, lr=args.lr), steps=args.steps, decay=args.decay)
