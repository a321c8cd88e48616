from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from adapter.data.labels import select_labels
from adapter.data.targets import TargetScales, fit_scales
from adapter.errors import ConfigError, LabelsError, TrainingError
from adapter.network.config import AdapterConfig, match_heads
from adapter.network.losses import LossConfig
from adapter.network.model import RankingAdapter, read_settings
from adapter.run import Run
from adapter.settings import OptimConfig, TrainConfig
from adapter.training.environment import slow_precision
from adapter.training.log import RunLog, read_log
from adapter.training.optim import build_optimizer, gradient_norm, learning_rate, parameter_groups
from adapter.training.train import train
from featcache.errors import FingerprintMismatchError


def losses_of(out):
    return [r["loss"] for r in read_log(out / "log.jsonl") if r["kind"] == "train"]


def test_training_learns_and_leaves_a_run(tmp_path, train_fake):
    events = []
    summary = train_fake(tmp_path, steps=150, lr=3e-3, log_every=10, on_event=events.append)
    losses = losses_of(tmp_path)
    assert len(losses) == 15
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    assert (summary.steps, summary.interrupted, summary.left_out) == (150, False, 0)
    assert [e.kind for e in events][:2] == ["start", "step"]
    assert events[-1].kind == "end"
    run = Run.load(tmp_path)
    assert run.record["outcome"]["steps"] == 150
    assert run.record["shards"][0]["dataset"] == "fake"
    scales = {s.task: s for s in run.scales.scales}
    assert scales.keys() == {"count", "score"}
    assert read_settings(tmp_path)[1]["scales"] == run.record["scales"]


def test_the_same_seed_gives_the_same_weights(tmp_path, train_fake):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_fake(tmp_path / name, steps=5, seed=seed)
    a, b, c = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_training_leaves_the_global_generator_alone(tmp_path, train_fake):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train_fake(tmp_path, steps=2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("source", ["disk", "ram", "device"])
def test_sources_give_the_same_losses(tmp_path, train_fake, source):
    train_fake(tmp_path / "auto", steps=4)
    summary = train_fake(tmp_path / source, steps=4, source=source)
    assert summary.source == (source,)
    assert losses_of(tmp_path / source) == losses_of(tmp_path / "auto")


def test_no_steps_still_make_a_run(tmp_path, train_fake):
    assert train_fake(tmp_path, steps=0).steps == 0
    fresh = RankingAdapter(read_settings(tmp_path)[0], seed=0).state_dict()
    loaded = RankingAdapter.load(tmp_path).state_dict()
    assert all(torch.equal(fresh[name], loaded[name]) for name in fresh)


def test_a_single_query_with_fewer_images_than_a_batch(tmp_path, train_fake, make_cache):
    cache = make_cache(images=6)
    train_fake(tmp_path, cache=cache, queries=("beauty",), batch_size=64, steps=3)
    assert all(math.isfinite(x) for x in losses_of(tmp_path))


def test_one_image_has_no_pairs_but_a_loss(tmp_path, train_fake, make_cache):
    cache = make_cache()
    cache.label_rows[:] = [("image-0", "score", "beauty", 1.0, "train", None)]
    for name, ranking in (("a", "bce"), ("b", "hinge")):
        train_fake(tmp_path / name, cache=cache, steps=2, ranking=ranking)
        assert all(math.isfinite(x) for x in losses_of(tmp_path / name))


def test_a_loss_that_is_not_finite_names_step_and_query(tmp_path, train_fake, make_cache):
    cache = make_cache()
    cache.features[:] = np.float16(np.inf)
    with pytest.raises(TrainingError, match=r"step 0 is not finite \(query '"):
        train_fake(tmp_path, cache=cache, steps=3)
    assert not (tmp_path / "state").exists()


def test_a_fault_in_the_cache_surfaces(tmp_path, train_fake, make_cache):
    cache = make_cache()
    whole = cache.tokens

    def broken(rows, view="original", out=None):
        if len(rows) > 1:
            raise OSError("shard 3 is gone")
        return whole(rows, view, out)

    cache.tokens = broken
    threads = threading.active_count()
    with pytest.raises(OSError, match="shard 3"):
        train_fake(tmp_path, cache=cache, source="disk")
    assert threading.active_count() == threads


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_close_to_full(tmp_path, train_fake, precision):
    train_fake(tmp_path / "full", steps=8)
    train_fake(tmp_path / "mixed", steps=8, precision=precision)
    np.testing.assert_allclose(
        losses_of(tmp_path / "mixed"), losses_of(tmp_path / "full"), rtol=0.03
    )


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step(tmp_path, train_fake):
    train_fake(tmp_path / "plain", steps=3, dropout=0.0)
    train_fake(tmp_path / "compiled", steps=3, dropout=0.0, compile=True)
    np.testing.assert_allclose(
        losses_of(tmp_path / "compiled"), losses_of(tmp_path / "plain"), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ({"ranking": "none"}, (True, "none")),
        ({"regression": "none"}, (False, "relational")),
        ({"pair_head": "none"}, (True, "none")),
        ({"score_head": False}, (False, "relational")),
    ],
)
def test_heads_without_a_loss_are_switched_off(tmp_path, train_fake, options, heads):
    train_fake(tmp_path, steps=2, validate_every=1, **options)
    config = RankingAdapter.load(tmp_path).config
    assert (config.score_head, config.pair_head) == heads


def test_nothing_left_to_train():
    with pytest.raises(ConfigError, match="pair_head is none"):
        match_heads(AdapterConfig.released(pair_head="none"), LossConfig(regression="none"))
    with pytest.raises(ConfigError, match="score_head is off"):
        match_heads(AdapterConfig.released(score_head=False), LossConfig(ranking="none"))


def test_presence_needs_raw_targets(tmp_path, train_fake):
    with pytest.raises(ConfigError, match="target_scale none"):
        train_fake(tmp_path, presence=True)
    train_fake(tmp_path, presence=True, target_scale="none", steps=2)


def test_validation_keeps_the_best_and_stops_early(tmp_path, train_fake):
    summary = train_fake(
        tmp_path, steps=200, lr=0.0, warmup=0, validate_every=2, patience=3, log_every=5
    )
    # With a learning rate of zero nothing improves after the first validation.
    assert summary.stopped_early
    assert (summary.steps, summary.best_step) == (8, 2)
    records = [r for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "validation"]
    assert [r["step"] for r in records] == [2, 4, 6, 8]
    assert records[0]["srcc"] == summary.best_value


def test_best_by_error_is_the_smallest(tmp_path, train_fake):
    summary = train_fake(tmp_path, steps=12, lr=5e-3, validate_every=3, select_by="mae")
    values = [r["mae"] for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "validation"]
    assert summary.best_value == min(values)


def test_without_a_validation_split_images_are_held_out(tmp_path, train_fake, make_cache):
    cache = make_cache()
    cache.label_rows[:] = [row for row in cache.label_rows if row[4] != "val"]
    train_fake(tmp_path, cache=cache, steps=2, validate_every=2, hold_out=0.5)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["shards"][0]["images"] == 15


def test_validation_looks_at_trained_tasks_only(tmp_path, train_fake, make_cache):
    cache = make_cache()
    others = [(f"image-{i}", "taste", "beauty", float(i), "val", None) for i in range(9)]
    cache.label_rows[:] = [row for row in cache.label_rows if row[4] != "val"] + others
    with pytest.raises(
        ConfigError, match=r"no label of the split val is of a task that is trained"
    ):
        train_fake(tmp_path / "none", cache=cache, steps=2, validate_every=2)
    known = [(f"image-{i}", "score", "beauty", float(i), "val", None) for i in range(9)]
    cache.label_rows[:] += known
    train_fake(tmp_path / "some", cache=cache, steps=2, validate_every=2)
    (record,) = [r for r in read_log(tmp_path / "some/log.jsonl") if r["kind"] == "validation"]
    assert -1 <= record["srcc"] <= 1


def test_several_caches_each_with_its_unit(tmp_path, train_fake, make_cache):
    other = make_cache(seed=1, path="other")  # of the same data set's name
    other.label_rows[:] = [
        (f"image-{i}", "age", "beauty", 20.0 + i, "train", None) for i in range(40)
    ]
    summary = train_fake(
        tmp_path, cache=[make_cache(), other], weights=(1.0, 3.0), steps=12, source="disk"
    )
    assert summary.source == ("disk", "disk")
    run = Run.load(tmp_path)
    assert run.scales.of_task(1, "age").mean == pytest.approx(39.5)
    assert run.scale(other, "beauty", "age").mean == pytest.approx(39.5)
    assert [shard["path"] for shard in run.record["shards"]] == ["cache", "other"]
    assert losses_of(tmp_path)[0] < 5


def test_caches_with_different_features_are_refused(tmp_path, train_fake, make_cache):
    with pytest.raises(FingerprintMismatchError, match=r"backbone\.weights"):
        train_fake(tmp_path, cache=[make_cache(), make_cache(weights="w1", path="other")])


def test_relevance_trains(tmp_path, train_fake, make_cache):
    cache = make_cache()
    with pytest.raises(LabelsError, match="featcache prompts cache --add"):
        train_fake(
            tmp_path, cache=cache, relevance=True, relevance_max=1, steps=2, validate_every=2
        )
    tokens = cache.prompts["beauty"]
    for animal in ("cats", "dogs"):
        for count in (0, 1):
            text = f"number of {animal} by the relevance count to {count}."
            cache.prompts[text] = tokens
    train_fake(tmp_path, cache=cache, relevance=True, relevance_max=1, steps=2, validate_every=2)


def test_presets_take_their_widths_from_the_cache(tmp_path, make_cache):
    config = TrainConfig(steps=0)
    train([make_cache()], tmp_path, AdapterConfig.paper(width=16), LossConfig.paper(), config)
    saved = RankingAdapter.load(tmp_path).config
    assert (saved.image_dim, saved.text_dim, saved.relation_pool) == (8, 8, "mean")
    with pytest.raises(ConfigError, match="no preset"):
        train([make_cache()], tmp_path / "b", "mine", LossConfig(), config)
    with pytest.raises(ConfigError, match="at least one cache"):
        train([], tmp_path / "c", "paper", LossConfig(), config)
    with pytest.raises(ConfigError, match=r"the cache .* is given twice"):
        train([tmp_path, str(tmp_path)], tmp_path / "c", "paper", LossConfig(), config)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": -1},
        {"log_every": 0},
        {"hold_out": 1.0},
        {"patience": 2},
        {"precision": "fp8"},
        {"source": "tape"},
        {"select_by": "accuracy"},
        {"target_scale": "log"},
        {"seed": -1},
    ],
)
def test_impossible_training_settings(options):
    with pytest.raises(ConfigError):
        TrainConfig(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -1.0},
        {"lr": math.nan},
        {"weight_decay": -1.0},
        {"decay": "all"},
        {"betas": (0.9, 1.0)},
        {"eps": 0.0},
        {"warmup": -1},
        {"schedule": "step"},
        {"clip_norm": 0.0},
    ],
)
def test_impossible_optimizer_settings(options):
    with pytest.raises(ConfigError):
        OptimConfig(**options)


def test_learning_rate_warms_up_and_falls():
    config = OptimConfig(lr=1.0, warmup=10)
    rates = [learning_rate(config, step, 110) for step in range(110)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert (np.diff(rates[10:]) < 0).all()
    assert 0 < rates[-1] < 1e-3
    share = OptimConfig(lr=1.0, warmup=0.5, schedule="constant")
    assert [learning_rate(share, s, 4) for s in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_only_matrices_decay():
    model = RankingAdapter(AdapterConfig.released(image_dim=8, text_dim=8, width=16))
    names = {id(p): name for name, p in model.named_parameters()}

    def decayed(decay):
        first = parameter_groups(model, 0.1, decay)[0]
        assert first["weight_decay"] == 0.1
        return {names[id(p)] for p in first["params"]}

    tokens = {"learnable_text_tokens", "reg_tokens"}
    assert decayed("released") - decayed("matrices") == tokens
    assert not any("bias" in name for name in decayed("released"))
    total = sum(len(g["params"]) for g in parameter_groups(model, 0.1, "matrices"))
    assert total == len(names)


def test_the_optimizer_follows_its_settings():
    model = torch.nn.Linear(2, 2)
    group = build_optimizer(model, OptimConfig(lr=0.5)).param_groups[0]
    assert (group["amsgrad"], group["betas"], group["lr"]) == (True, (0.9, 0.999), 0.5)


def test_gradient_norm_and_clipping():
    a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))
    unused = torch.nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert gradient_norm([a, b, unused], None) == 5.0
    assert gradient_norm([a, b, unused], 1.0) == 5.0
    assert gradient_norm([a, b, unused], None) == pytest.approx(1.0, rel=1e-5)


def test_scales_are_fitted_per_task_and_inverted(make_cache):
    selection = select_labels(make_cache(), split="train")
    scales = fit_scales([("fake", selection)], "standardize")
    count = scales.of_task(0, "count")
    values = np.concatenate([q.values for q in selection.queries if q.task == "count"])
    assert count.standardize(values).mean() == pytest.approx(0, abs=1e-12)
    assert count.standardize(values).std() == pytest.approx(1)
    np.testing.assert_allclose(count.restore(count.standardize(values)), values)
    assert TargetScales.from_list(json.loads(json.dumps(scales.to_list()))) == scales
    raw = fit_scales([("fake", selection)], "none").of_task(0, "count")
    assert (raw.mean, raw.std) == (0.0, 1.0)


def test_the_unit_of_a_new_query_is_found_or_left_alone(make_cache):
    scales = fit_scales([("fake", select_labels(make_cache(), split="train"))], "standardize")
    assert scales.find("beauty").task == "score"
    assert scales.find("number of cows.", task="count").task == "count"
    unknown = scales.find("elegance")
    assert (unknown.mean, unknown.std) == (0.0, 1.0)
    alone = TargetScales(scales=scales.scales[:1])
    assert alone.find("elegance") is alone.scales[0]


def test_log_is_cut_back_and_null_for_what_json_has_not(tmp_path):
    log = RunLog(tmp_path)
    for step in range(1, 6):
        log.append({"step": step, "loss": math.nan if step == 2 else 1.0})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 6')
    RunLog(tmp_path, resume_step=3).close()
    records = list(read_log(tmp_path / "log.jsonl"))
    assert [r["step"] for r in records] == [1, 2, 3]
    assert records[1]["loss"] is None
    RunLog(tmp_path).close()
    assert not list(read_log(tmp_path / "log.jsonl"))


def test_tensorboard_has_the_numbers_of_the_log(tmp_path, train_fake):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    train_fake(tmp_path, steps=3, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [e.value for e in events.Scalars("train/loss")]
    np.testing.assert_allclose(found, losses_of(tmp_path), rtol=1e-6)


def test_tensorboard_forgets_steps_that_were_not_saved(tmp_path, monkeypatch):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    for now, first, steps in ((1, None, range(1, 6)), (2, 3, range(4, 7))):
        monkeypatch.setattr("time.time", lambda now=now: float(now))  # which names the file
        log = RunLog(tmp_path, resume_step=first, tensorboard=True)
        for step in steps:
            log.append({"step": step, "loss": 10.0 * now + step})
        log.close()
    monkeypatch.undo()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(1, 11), (2, 12), (3, 13), (4, 24), (5, 25), (6, 26)]


def test_hours_on_a_cpu_are_told_before_they_begin(tmp_path, train_fake, monkeypatch):
    train_fake(tmp_path / "quiet", steps=4)
    monkeypatch.setattr("adapter.training.trainer.LARGE", 1)
    events = []
    train_fake(tmp_path / "told", steps=4, on_event=events.append)
    kinds = [event.kind for event in events if event.kind != "note"]
    assert kinds[:3] == ["start", "estimate", "step"]
    values = next(event.values for event in events if event.kind == "estimate")
    assert values["seconds"] == 4 * values["step_seconds"] > 0
    assert values["width"] == 16
    assert values["parameters"] == next(e for e in events if e.kind == "start").values["parameters"]
    # The steps that were timed have changed nothing.
    quiet, told = (load_file(tmp_path / name / "adapter.safetensors") for name in ("quiet", "told"))
    assert all((quiet[name] == told[name]).all() for name in quiet)


@pytest.mark.parametrize(
    ("precision", "device", "capability", "slow"),
    [
        ("bf16", "cpu", "AVX2", True),
        ("bf16", "cpu", "AVX512", False),
        ("fp32", "cpu", "AVX2", False),
        ("bf16", "meta", "AVX2", False),
    ],
)
def test_a_precision_that_the_processor_imitates_is_told(
    monkeypatch, precision, device, capability, slow
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    said = slow_precision(precision, torch.device(device))
    assert (said is not None) == slow
    assert said is None or "no instructions for bf16" in said
