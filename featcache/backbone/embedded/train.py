"""Train `drawn-scenes-clip` from scratch on drawn scenes.

    python -m featcache.backbone.embedded.train --state DIR --steps 20000

Batch k follows from (seed, k). Stopped? The same command goes on from the last checkpoint. The
learning rate rises, stays, and falls over the last ``--decay`` steps, so a run can be made longer
or brought to its end at any time by another ``--steps``. When all steps are done, the weights are
written in float16, with what made them in the file's header.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from featcache.backbone.embedded import NAME
from featcache.backbone.embedded.batches import make_batch
from featcache.backbone.embedded.pool import Pool
from featcache.backbone.embedded.state import load_state, save_state
from featcache.backbone.embedded.student import Student
from featcache.datasets.scenes.seeds import CLIP_TRAINING
from featcache.devices import machine, pick_device
from featcache.storage.durable import committed

if TYPE_CHECKING:
    from collections.abc import Callable

    from featcache.backbone.embedded.batches import Batch

STATE = "state.safetensors"
LOG = "log.jsonl"
_MAX_LOG_SCALE = 4.6  # of the logits, as CLIP has it: 100


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What determines the weights.

    Attributes:
        seed: One of `featcache.datasets.scenes.seeds.CLIP_TRAINING`.
        steps: Updates in all.
        decay: The last of them, over which the learning rate falls to zero.
        warmup: The first of them, over which it rises.
        batch: Images per step.
        lr: Learning rate between its rise and its fall.
        weight_decay: Of AdamW, on matrices.
        reuse: How often a scene is seen, about.
        chunk: Scenes that are drawn at once.
    """

    seed: int = CLIP_TRAINING[0]
    steps: int = 20_000
    decay: int = 1_000
    warmup: int = 100
    batch: int = 64
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    reuse: int = 4
    chunk: int = 1000

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = (step + 1) / self.warmup
        fall = (self.steps - step) / max(self.decay, 1)
        return self.lr * min(1.0, rise, max(fall, 0.0))


def train(
    state: Path,
    config: TrainConfig,
    *,
    device: str = "cpu",
    checkpoint_every: int = 50,
    log_every: int = 20,
    progress: Callable[[dict[str, float]], None] = lambda line: None,
) -> tuple[Student, dict[str, Any]]:
    """Train, or go on training, until all steps are done.

    Args:
        state: Folder of the checkpoint, the log and the drawn scenes.
        config: What determines the weights.
        device: Where to compute.
        checkpoint_every: Steps between two checkpoints.
        log_every: Steps between two lines of the log, each the mean of its steps.
        progress: Called with each line.

    Returns:
        The student, and the progress: ``step``, ``images``, ``seconds``, and ``last``, the last
        line of the log.
    """
    state.mkdir(parents=True, exist_ok=True)
    student = Student(config.seed)
    student.to(device).to(memory_format=torch.channels_last)
    optimizer = _make_optimizer(student, config)
    done = load_state(state / STATE, student, optimizer) or {"step": 0, "images": 0, "seconds": 0.0}
    sums: dict[str, float] = {}
    counted = 0
    with (
        Pool(state / "pool", config.seed, student.size, config.chunk) as pool,
        ThreadPoolExecutor(1) as ahead,
    ):

        def prepare(step: int) -> Batch:
            return make_batch(
                pool,
                config.seed,
                step,
                size=student.size,
                images=config.batch,
                grid=student.grid,
                reuse=config.reuse,
            )

        following = ahead.submit(prepare, done["step"])
        start = time.monotonic()
        for step in range(done["step"], config.steps):
            batch = following.result()
            if step + 1 < config.steps:
                following = ahead.submit(prepare, step + 1)
            for group in optimizer.param_groups:
                group["lr"] = config.rate(step)
            for name, value in _update(student, optimizer, batch).items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            done["images"] += config.batch
            last = step + 1 == config.steps
            if (step + 1) % log_every == 0 or last:
                now = time.monotonic()
                done["seconds"] += now - start
                done["last"] = {
                    "step": step + 1,
                    "seconds": round(done["seconds"], 1),
                    "lr": config.rate(step),
                    **{name: round(total / counted, 4) for name, total in sums.items()},
                }
                sums, counted, start = {}, 0, now
                with (state / LOG).open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(done["last"]) + "\n")
                progress(done["last"])
            if (step + 1) % checkpoint_every == 0 or last:
                done["step"] = step + 1
                save_state(state / STATE, student, optimizer, done)
    return student, done


def _update(student: Student, optimizer: torch.optim.Optimizer, batch: Batch) -> dict[str, float]:
    """Do one step; all losses weigh the same."""
    losses = student(batch)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        student.log_scale.clamp_(0, _MAX_LOG_SCALE)
    return {name: loss.item() for name, loss in losses.items()}


def _make_optimizer(student: Student, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; vectors, embeddings and the scale of the logits do not decay."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in student.named_parameters():
        decays = parameter.ndim > 1 and "embedding" not in name
        (matrices if decays else others).append(parameter)
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )


def write_weights(path: Path, student: Student, training: dict[str, Any]) -> None:
    """Write OpenCLIP's weights in float16, with the training in the header, atomically."""
    tensors = {
        name: (t.half() if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in student.clip.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with committed(path) as temporary:
        save_file(tensors, temporary, metadata={"training": json.dumps(training)})


def main() -> None:
    """Run the command."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(
        prog="python -m featcache.backbone.embedded.train",
        description=f"Train {NAME} from scratch on drawn scenes. Stopped? The same command goes "
        "on. The learning rate falls over the last --decay steps: another --steps makes a run "
        "longer, or ends it soon.",
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "featcache" / NAME
    parser.add_argument(
        "--state", type=Path, default=cache, help=f"folder for checkpoint, log, scenes [{cache}]"
    )
    parser.add_argument(
        "--out", type=Path, help=f"file of the finished weights [STATE/{NAME}.safetensors]"
    )
    for name, help_text in (
        ("steps", "updates in all"),
        ("decay", "of these the last, over which the learning rate falls"),
        ("batch", "images per step"),
        ("lr", "learning rate"),
        ("seed", f"from {CLIP_TRAINING[0]} to {CLIP_TRAINING[-1]}"),
    ):
        default = getattr(defaults, name)
        parser.add_argument(
            f"--{name}", type=type(default), default=default, help=f"{help_text} [{default}]"
        )
    parser.add_argument("--note", default="", help="a remark for the model card")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    options = parser.parse_args()
    if options.seed not in CLIP_TRAINING:
        parser.error(f"--seed: from {CLIP_TRAINING[0]} to {CLIP_TRAINING[-1]}")
    chosen = {name: getattr(options, name) for name in ("steps", "decay", "batch", "lr", "seed")}
    config = TrainConfig(**chosen)
    # A polite kill ends the drawing process, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    student, done = train(
        options.state,
        config,
        device=options.device,
        progress=lambda line: print(json.dumps(line), flush=True),
    )
    training = {
        "command": " ".join((parser.prog, *(f"--{k} {v}" for k, v in chosen.items()))),
        "machine": machine(pick_device(options.device)),
        "date": datetime.now(UTC).date().isoformat(),
        "note": options.note,
        "images": done["images"],
        "hours": round(done["seconds"] / 3600, 2),
        "config": asdict(config),
        "losses": {k: v for k, v in done["last"].items() if k not in ("step", "seconds", "lr")},
    }
    out = options.out or options.state / f"{NAME}.safetensors"
    write_weights(out, student, training)
    print(f"weights: {out}")


if __name__ == "__main__":
    main()
