"""Extraction: what it refuses, how it stops, how it goes on."""

import errno
import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.errors import (
    BackboneError,
    CacheLockedError,
    DiskSpaceError,
    TooManyFailuresError,
    WriteError,
)
from featcache.extraction import pipeline
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.images.preprocess import normalize, read_image
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.history import read_history
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest

CONFIG = {
    "views": ("original", "hflip"), "batch_size": 2, "workers": 1, "shard_size": 3,
    "max_failures": 1.0,
}  # fmt: skip


def test_features_are_those_of_the_backbone(small_cache, image_folder, tiny_backbone):
    import torch

    cache = Cache.open(small_cache)
    for row, sample in enumerate(cache.sample_ids.to_pylist()):
        decoded = read_image(image_folder / sample, tiny_backbone.preprocessing)
        pixels = torch.from_numpy(np.ascontiguousarray(decoded.pixels))[None]  # [1, 3, S, S]
        images = normalize(pixels, tiny_backbone.preprocessing)
        for view, batch in {"original": images, "hflip": images.flip(-1)}.items():
            features = tiny_backbone.encode_images(batch)
            tokens = cache.tokens([row], view)[0]
            np.testing.assert_allclose(tokens, features.tokens[0], rtol=2e-3, atol=1e-3)
            pooled = cache.pooled([row], view)[0]
            np.testing.assert_allclose(pooled, features.pooled[0], rtol=1e-5, atol=1e-6)


def test_events_and_summary(tmp_path, image_dataset, tiny_backbone):
    events = []
    summary = extract(
        image_dataset, tmp_path / "c", tiny_backbone, ExtractConfig(**CONFIG), events.append
    )
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == ("start", "finish")
    assert (kinds.count("image"), kinds.count("shard")) == (10, 4)
    assert (summary.images, summary.failed, summary.reused) == (8, 2, 0)
    entries, damaged = read_history(tmp_path / "c")
    assert [entry["command"] for entry in entries] == ["extract"]
    assert damaged == []


def test_on_a_cpu_no_image_is_begun_during_a_forward_pass(
    tmp_path, image_dataset, tiny_backbone, monkeypatch
):
    computing, begun = threading.Event(), []
    read, add = pipeline.read, pipeline.Rows.add

    def watched(*given):
        begun.append(computing.is_set())
        return read(*given)

    def slow(*given):
        time.sleep(0.05)  # what waits at the gate would begin now
        computing.set()
        time.sleep(0.05)
        known = add(*given)
        computing.clear()
        return known

    monkeypatch.setattr(pipeline, "read", watched)
    monkeypatch.setattr(pipeline.Rows, "add", slow)
    config = ExtractConfig(**CONFIG | {"workers": 2, "batch_size": 1})
    assert extract(image_dataset, tmp_path / "c", tiny_backbone, config).images == 8
    assert len(begun) == 10
    assert not any(begun)


def test_a_failed_forward_pass_lets_waiting_threads_go(
    tmp_path, image_dataset, tiny_backbone, monkeypatch
):
    def fail(*_):
        time.sleep(0.05)
        raise BackboneError("no")

    monkeypatch.setattr(pipeline.Rows, "add", fail)
    config = ExtractConfig(**CONFIG | {"workers": 2, "batch_size": 1})
    with pytest.raises(BackboneError, match="no"):
        extract(image_dataset, tmp_path / "c", tiny_backbone, config)


def test_a_second_run_changes_nothing(cache_copy, make_small_cache, contents):
    before = contents(cache_copy)
    stamps = {name: (cache_copy / name).stat().st_mtime_ns for name in before}
    make_small_cache(cache_copy)
    assert contents(cache_copy) == before
    changed = {n for n, s in stamps.items() if (cache_copy / n).stat().st_mtime_ns != s}
    assert changed <= {"cache.json"}
    assert len(read_history(cache_copy)[0]) == 2


def test_more_images_go_on_where_fewer_ended(tmp_path, make_small_cache, small_cache, contents):
    make_small_cache(tmp_path / "c", limit=5)
    Manifest.read(tmp_path / "c").unfinished().write(tmp_path / "c")
    make_small_cache(tmp_path / "c")
    assert contents(tmp_path / "c") == contents(small_cache)


def test_a_smaller_limit_takes_nothing_away(cache_copy, make_small_cache, contents):
    before = contents(cache_copy)
    make_small_cache(cache_copy, limit=5)
    assert contents(cache_copy) == before


def test_damaged_shards_of_an_unfinished_cache_are_made_again(
    cache_copy, make_small_cache, small_cache, contents
):
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    one, two = cache_copy / "shards/00000.h5", cache_copy / "shards/00001.h5"
    one.write_bytes(one.read_bytes()[:-9])
    content = bytearray(two.read_bytes())
    content[content.index(b"image_03.png")] ^= 1
    two.write_bytes(content)
    make_small_cache(cache_copy)
    assert contents(cache_copy) == contents(small_cache)


def test_damage_is_not_covered_up(cache_copy, make_small_cache):
    two = cache_copy / "shards/00001.h5"
    content = bytearray(two.read_bytes())
    content[content.index(b"image_03.png")] ^= 1
    two.write_bytes(content)
    make_small_cache(cache_copy)
    assert not verify_cache(cache_copy).ok


def test_a_full_disk_keeps_finished_shards(
    tmp_path, make_small_cache, small_cache, monkeypatch, contents
):
    out, real, writes = tmp_path / "c", os.write, []

    def write(descriptor, data):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if "00002.h5" in name and len(writes) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        writes.append(name)
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(DiskSpaceError, match=r"00002\.h5 could not be written.*free some"):
            make_small_cache(out)
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["00000.h5", "00001.h5"]
    make_small_cache(out)
    assert contents(out) == contents(small_cache)


def test_errors_of_the_write_thread_end_the_run(tmp_path, make_small_cache, monkeypatch):
    monkeypatch.setattr(pipeline, "write_shard", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_small_cache(tmp_path / "c")
    assert not [t for t in threading.enumerate() if t.name.startswith(("write", "decode"))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_a_run_cleanly(
    tmp_path, image_dataset, tiny_backbone, small_cache, number, request, contents
):
    # A shell starts background jobs with SIGINT ignored; Python then has no handler for it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def stop(event):
        if event.kind == "image" and event.done == 8:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        extract(image_dataset, tmp_path / "c", tiny_backbone, ExtractConfig(**CONFIG), stop)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not list((tmp_path / "c").rglob("*.tmp"))
    assert not [t for t in threading.enumerate() if t.name.startswith(("write", "decode"))]
    assert (tmp_path / "c/shards/00000.h5").exists()
    extract(image_dataset, tmp_path / "c", tiny_backbone, ExtractConfig(**CONFIG))
    assert contents(tmp_path / "c") == contents(small_cache)


def test_two_runs_at_once(tmp_path, make_small_cache):
    out = tmp_path / "c"
    out.mkdir()
    with writing(out), pytest.raises(CacheLockedError, match=f"process {os.getpid()}"):
        make_small_cache(out)


def test_odd_names_are_stored(tmp_path, tiny_backbone):
    names = ["line\nbreak.png", "u\u2028\x85v.png", 'quote".png', "名前.png"]
    (tmp_path / "images").mkdir()
    for name in names:
        Image.new("RGB", (9, 9)).save(tmp_path / "images" / name)
    extract(open_dataset("folder", tmp_path / "images"), tmp_path / "c", tiny_backbone)
    assert set(Cache.open(tmp_path / "c").sample_ids.to_pylist()) == set(names)
    assert verify_cache(tmp_path / "c").ok


def test_too_many_failures(tmp_path, make_small_cache):
    with pytest.raises(TooManyFailuresError) as raised:
        make_small_cache(tmp_path / "c", max_failures=0.1)
    message = str(raised.value)
    assert message.startswith("failed: 2 of 10 images, more than the share of 0.1")
    for name in ("image_02.png", "image_07.png"):
        assert re.search(rf"\n  {name}: .*not an image", message)
    assert f"featcache info {tmp_path / 'c'} --failures" in message


@pytest.fixture
def broken_folder(tmp_path):
    """Forty images, of which the first eight are empty files."""
    root = tmp_path / "images"
    root.mkdir()
    for n in range(40):
        if n < 8:
            (root / f"{n:02d}.png").touch()
        else:
            Image.new("L", (9, 9), 6 * n).save(root / f"{n:02d}.png")
    return open_dataset("folder", root)


def test_the_share_of_failures_is_of_all_images(tmp_path, broken_folder, tiny_backbone):
    """The first eight fail; they are a fifth of all."""
    config = ExtractConfig(max_failures=0.2, shard_size=5, batch_size=5, workers=1)
    assert extract(broken_folder, tmp_path / "c", tiny_backbone, config).failed == 8
    config = replace(config, max_failures=0.19)
    with pytest.raises(TooManyFailuresError, match=r"(?s)8 of 40 .*00\.png.*04\.png.*3 more"):
        extract(broken_folder, tmp_path / "d", tiny_backbone, config)


def test_failures_of_an_earlier_run_count(tmp_path, broken_folder, tiny_backbone):
    config = ExtractConfig(max_failures=0.5, shard_size=20, batch_size=5, workers=1, limit=20)
    extract(broken_folder, tmp_path / "c", tiny_backbone, config)
    config = replace(config, max_failures=0.1, limit=None)
    with pytest.raises(TooManyFailuresError, match="failed: 8 of 40 images"):
        extract(broken_folder, tmp_path / "c", tiny_backbone, config)


def test_images_of_a_shard_without_any_are_tried_again(tmp_path, tiny_backbone, broken_folder):
    """Where a disk was away for a while, whole shards failed."""
    config = ExtractConfig(max_failures=0.2, shard_size=8, batch_size=8, workers=1)
    extract(broken_folder, tmp_path / "c", tiny_backbone, config)
    for n in range(8):
        Image.new("L", (9, 9), 6 * n).save(broken_folder.root / f"{n:02d}.png")
    summary = extract(broken_folder, tmp_path / "c", tiny_backbone, config)
    assert (summary.failed, summary.images, summary.reused) == (0, 40, 32)
    assert verify_cache(tmp_path / "c").ok


@pytest.mark.parametrize("max_failures", [0.5, 1.0])
def test_features_that_are_not_finite_are_failures(
    tmp_path, image_dataset, tiny_backbone, monkeypatch, max_failures
):
    real = tiny_backbone.encode_images

    def encode(images):
        features = real(images)
        tokens = features.tokens.clone()
        tokens[0, 0, 0] = float("inf")  # the first image of each batch
        return features._replace(tokens=tokens)

    monkeypatch.setattr(tiny_backbone, "encode_images", encode)
    config = ExtractConfig(**{**CONFIG, "max_failures": max_failures})
    seen = []
    if max_failures == 1:
        extract(image_dataset, tmp_path / "c", tiny_backbone, config, seen.append)
        failed = pc.field("status") == "failed"
        assert Cache.open(tmp_path / "c").samples.filter(failed).num_rows == 7  # 2 unreadable
        assert seen[-1].failed == 7
        assert seen[-1].done == seen[-1].total == 10
    else:
        with pytest.raises(TooManyFailuresError, match=r"(?s)6 of 10 .*not finite in float16"):
            extract(image_dataset, tmp_path / "c", tiny_backbone, config)


def test_a_prompt_that_is_too_long_is_found_first(tmp_path, image_dataset, tiny_backbone):
    config = ExtractConfig(**CONFIG, prompts=("cat " * 20,))
    with pytest.raises(BackboneError, match="has 22 tokens"):
        extract(image_dataset, tmp_path / "c", tiny_backbone, config)
    assert not (tmp_path / "c").exists()


def test_a_folder_that_cannot_be_made_is_found_first(tmp_path, make_small_cache):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="choose another one"):
        make_small_cache(tmp_path / "file" / "cache")
