from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from adapter.errors import TrainingError
from adapter.methods import get
from adapter.methods.loop import STATE, Schedule, batch_of, cosine, run_steps

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Fold:
    folder: Path
    seed: int = 0

    def on_progress(self, done: int, steps: int) -> None:
        pass


def fit(folder: Path, *, stop: int | None = None, steps: int = 30, kind=torch.optim.RAdam):
    weight = torch.nn.Parameter(torch.ones(3))
    target = torch.tensor([1.0, -2.0, 0.5])

    def loss_of(step: int) -> torch.Tensor:
        if step == stop:
            signal.raise_signal(signal.SIGINT)  # in the middle of a step, which is still taken
        return ((weight - target) ** 2).sum() * (1 + step % 3)

    optimizer = kind([weight], lr=0.05)
    run_steps(
        Fold(folder),
        {"weight": weight},
        optimizer,
        loss_of,
        steps,
        factor=lambda step: cosine(step, steps, warmup=5),
    )
    return weight.detach()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.RAdam])
def test_a_stopped_fit_ends_like_one_that_was_not(tmp_path, kind):
    whole = fit(tmp_path / "whole", kind=kind)
    for stop in (0, 1, 17):
        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            fit(folder, stop=stop, kind=kind)
        torch.testing.assert_close(fit(folder, kind=kind), whole, rtol=0, atol=0)


def test_a_finished_fit_is_not_done_again(tmp_path):
    first = fit(tmp_path)
    torch.testing.assert_close(fit(tmp_path, stop=0), first, rtol=0, atol=0)


def test_another_length_is_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(TrainingError, match="30 steps, not 31"):
        fit(tmp_path, steps=31)


@pytest.mark.parametrize("cut", [0, 8, 60])
def test_a_damaged_state(tmp_path, cut):
    fit(tmp_path)
    content = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(content[:cut])
    with pytest.raises(TrainingError, match="remove it to begin again"):
        fit(tmp_path)


def test_a_loss_that_is_not_finite(tmp_path):
    weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingError, match="nan at step 1"):
        run_steps(
            Fold(tmp_path),
            {"weight": weight},
            torch.optim.SGD([weight], lr=0.1),
            lambda step: (weight * torch.nan).sum(),
            3,
        )


def test_an_epoch_has_every_image_once():
    batches = [batch_of(10, 4, step, seed=1) for step in range(6)]
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(10))
    assert not np.array_equal(np.concatenate(batches[:3]), np.concatenate(batches[3:]))
    np.testing.assert_array_equal(batch_of(10, 4, 4, seed=1), batches[4])


def test_a_schedule_counts_epochs_unless_steps_are_given():
    method = get("coop", epochs=3, batch_size=4)
    assert Schedule.of(method, 10) == Schedule(epoch=3, steps=9)
    assert Schedule.of(get("coop", steps=5, batch_size=4), 10).steps == 5
    factors = [Schedule(epoch=3, steps=9).cosine_by_epoch(step) for step in range(9)]
    assert factors == pytest.approx([1.0] * 3 + [0.75] * 3 + [0.25] * 3)


def test_the_factor_grows_then_falls():
    factors = [cosine(step, 20, warmup=4, start=0.2, end=0.1) for step in range(21)]
    assert factors[0] == 0.2
    assert factors[4] == 1.0
    assert factors[20] == pytest.approx(0.1)
    assert factors[4:] == sorted(factors[4:], reverse=True)
