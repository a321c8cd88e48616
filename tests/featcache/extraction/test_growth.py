"""A cache that follows its folder: what changed is found, and nothing else is made again."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.datasets import open_dataset
from featcache.datasets.base import ImageRecord
from featcache.errors import CacheFormatError, DatasetError
from featcache.extraction import extract as extraction
from featcache.extraction.extract import extract, plan_extraction
from featcache.extraction.growth import MISSING, plan_growth
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.merge import merge_caches
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.changes import Change
from featcache.storage.history import read_history
from featcache.storage.manifest import Manifest
from featcache.storage.records import SampleRecord
from featcache.storage.tables import samples_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from featcache.backbone import Backbone

SETTINGS: dict[str, Any] = {
    "views": ("original", "hflip"), "batch_size": 2, "workers": 1, "shard_size": 3,
    "max_failures": 1.0,
}  # fmt: skip


def draw(path: Path, seed: int) -> None:
    """Draw an image of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (14, 18, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path, image_folder: Path) -> Path:
    """Ten images, two of them unreadable, as a folder that a test may change."""
    return shutil.copytree(image_folder, tmp_path / "photos")


@pytest.fixture
def follow(photos: Path, tmp_path: Path, tiny_backbone: Backbone) -> Callable[..., str]:
    """Return a function: extract the folder as it is now; returns the plan."""

    def run(out: str = "cache", **changes: Any) -> str:
        config = ExtractConfig(**(SETTINGS | changes))
        dataset = open_dataset("folder", photos)
        return extract(dataset, tmp_path / out, tiny_backbone, config).growth

    return run


@pytest.fixture
def same_as_new(follow: Callable[..., str], tmp_path: Path) -> Callable[[], Cache]:
    """Return a function: compare the cache with a fresh extraction of the folder."""

    def compare() -> Cache:
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        follow("fresh")
        grown, fresh = Cache.open(tmp_path / "cache"), Cache.open(tmp_path / "fresh")
        columns = ["sample_id", "path", "sha256", "status", "width"]
        by_id = [("sample_id", "ascending")]
        assert (
            grown.samples.select(columns).sort_by(by_id).to_pylist()
            == fresh.samples.select(columns).sort_by(by_id).to_pylist()
        )
        rows = fresh.rows(grown.sample_ids)
        assert len(grown) == len(fresh)
        for view in grown.views:
            # A batch of other images gives other last bits.
            tokens = grown.tokens(range(len(grown)), view).astype(np.float32)
            np.testing.assert_allclose(tokens, fresh.tokens(rows, view), rtol=2e-3, atol=1e-3)
            pooled = grown.pooled(range(len(grown)), view)
            np.testing.assert_allclose(pooled, fresh.pooled(rows, view), rtol=1e-4, atol=1e-5)
        assert verify_cache(tmp_path / "cache").lines() == []
        return grown

    return compare


def test_new_gone_moved_and_changed(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache], tmp_path: Path
) -> None:
    assert follow() == ""
    cache = tmp_path / "cache"
    before = {path.name: path.read_bytes() for path in (cache / "shards").iterdir()}
    identity = Cache.open(cache).identity
    for n in range(4):
        draw(photos / f"a_new_{n}.png", n)  # sorts before all others
    (photos / "image_03.png").unlink()
    (photos / "sub").mkdir()
    (photos / "image_04.png").rename(photos / "sub/moved.png")
    draw(photos / "image_05.png", 99)
    assert follow() == "4 new, 1 gone, 1 moved, 1 changed"
    grown = same_as_new()
    assert before.items() <= {p.name: p.read_bytes() for p in (cache / "shards").iterdir()}.items()
    assert grown.sample_ids.to_pylist() == [
        "image_00.png", "image_01.png", "sub/moved.png", "image_06.png", "image_08.png",
        "image_09.png", *(f"a_new_{n}.png" for n in range(4)), "image_05.png",
    ]  # fmt: skip
    assert grown.identity == identity
    assert follow() == "0 new, 0 gone, 0 moved, 0 changed"
    assert Cache.open(cache).state == grown.state
    assert read_history(cache)[0][1]["growth"] == "4 new, 1 gone, 1 moved, 1 changed"
    assert read_history(cache)[0][1]["shards"] == {"cpu": "4-5"}
    with pytest.raises(IndexError, match="row 11 is not in"):
        grown.pooled([0, 11])
    with pytest.raises(IndexError, match="row -1 is not in"):
        grown.tokens([-1])


def test_rows_are_verified_behind_the_gone_ones(
    photos: Path, follow: Callable[..., str], tmp_path: Path
) -> None:
    follow()
    (photos / "image_00.png").unlink()
    follow()
    cache = Cache.open(tmp_path / "cache", verify_rows=True)
    assert cache.tokens(range(len(cache))).shape == (7, 4, 6)


def test_names_that_are_swapped_and_passed_on(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache]
) -> None:
    follow()
    (photos / "image_00.png").rename(photos / "x")
    (photos / "image_01.png").rename(photos / "image_00.png")
    (photos / "x").rename(photos / "image_01.png")
    (photos / "image_05.png").rename(photos / "image_04.png")  # whose content is gone
    assert follow() == "0 new, 0 gone, 3 moved, 0 changed"
    same_as_new()


def test_what_comes_back_is_not_made_again(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache],
    monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone, tmp_path: Path,
) -> None:  # fmt: skip
    follow()
    shutil.copy(photos / "image_06.png", tmp_path / "kept.png")
    (photos / "image_06.png").unlink()
    assert follow().startswith("0 new, 1 gone")
    assert len(Cache.open(tmp_path / "cache")) == 7
    shutil.copy(tmp_path / "kept.png", photos / "again.png")
    with monkeypatch.context() as patch:
        patch.setattr(type(tiny_backbone), "encode_images", lambda *_: pytest.fail("made again"))
        assert follow() == "0 new, 0 gone, 0 moved, 0 changed, 1 back"
    same_as_new()


def test_failures_are_tried_again_when_they_change(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache]
) -> None:
    follow()
    assert follow() == "0 new, 0 gone, 0 moved, 0 changed"
    draw(photos / "image_02.png", 5)
    (photos / "image_00.png").write_bytes(b"broken now")
    assert follow() == "0 new, 0 gone, 0 moved, 2 changed"
    cache = same_as_new()
    assert (len(cache), cache.samples.num_rows) == (8, 10)


def test_a_broken_image_does_not_stop_a_growth(photos: Path, follow: Callable[..., str]) -> None:
    follow(max_failures=0.5)
    (photos / "broken.png").write_bytes(b"broken")
    assert follow(max_failures=0.5).startswith("1 new")


def test_an_unreadable_file_keeps_its_features(
    photos: Path, follow: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    follow()
    real = extraction.remaining_work.__globals__["digest_images"]

    def unreadable(root: Path, images: list[ImageRecord], *rest: Any) -> pa.ChunkedArray[Any]:
        found: pa.ChunkedArray[Any] = real(root, images, *rest)
        return pa.chunked_array([[None, *found.to_pylist()[1:]]], pa.string())

    monkeypatch.setitem(extraction.remaining_work.__globals__, "digest_images", unreadable)
    assert follow().endswith("0 changed, 1 unreadable now (their features are kept)")
    assert len(Cache.open(tmp_path / "cache")) == 8


def test_a_growth_that_is_stopped_is_not_seen_and_goes_on(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    follow()
    cache = tmp_path / "cache"
    before = Cache.open(cache).state
    for n in range(7):
        draw(photos / f"new_{n}.png", n)
    (photos / "image_00.png").unlink()
    real = extraction.Counting.shard

    def stop(run: Any, number: int, *made: Any) -> None:
        real(run, number, *made)
        if number == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extraction.Counting, "shard", stop)
        with pytest.raises(KeyboardInterrupt):
            follow()
    assert Cache.open(cache).state == before
    report = verify_cache(cache)
    assert report.ok
    (line, *_) = report.lines()
    assert "00004.h5 (of an extraction that was stopped; the same command goes on" in line
    (photos / "image_01.png").unlink()  # life goes on
    assert follow() == "1 new, 1 gone, 0 moved, 0 changed"
    same_as_new()


def test_a_data_set_that_changes_under_a_first_extraction(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache], tmp_path: Path
) -> None:
    follow()
    cache = tmp_path / "cache"
    Manifest.read(cache).unfinished().write(cache)
    (cache / "shards/00001.h5").write_bytes(b"damaged")
    (cache / "shards/00003.h5").unlink()
    draw(photos / "a_new.png", 1)
    assert follow() == "5 new, 0 gone, 0 moved, 0 changed"
    same_as_new()


def test_lost_shards_are_for_repair_when_the_data_set_has_changed(
    photos: Path, follow: Callable[..., str], tmp_path: Path
) -> None:
    follow()
    (tmp_path / "cache/shards/00001.h5").unlink()
    draw(photos / "a_new.png", 1)
    with pytest.raises(CacheFormatError, match=r"00001\.h5 lost or damaged.*featcache repair"):
        follow()


def test_a_limit_takes_nothing_away(photos: Path, follow: Callable[..., str]) -> None:
    follow(limit=6)
    (photos / "image_05.png").unlink()
    assert follow(limit=3) == "0 new, 1 gone, 0 moved, 0 changed"
    assert follow(limit=8) == "3 new, 0 gone, 0 moved, 0 changed"


def test_a_plan_writes_nothing(
    photos: Path, follow: Callable[..., str], tmp_path: Path, tiny_backbone: Backbone,
    contents: Callable[[Path], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config, dataset = ExtractConfig(**SETTINGS), open_dataset("folder", photos)
    work = extraction.remaining_work.__globals__
    with monkeypatch.context() as patch:
        patch.setitem(work, "digest_images", lambda *_: pytest.fail("images were touched"))
        plan = plan_extraction(dataset, tmp_path / "cache", tiny_backbone, config)
    assert str(plan) == "10 new, 0 gone, 0 moved, 0 changed"
    assert not (tmp_path / "cache").exists()
    follow()
    before = contents(tmp_path / "cache")
    draw(photos / "a_new.png", 1)
    plan = plan_extraction(
        open_dataset("folder", photos), tmp_path / "cache", tiny_backbone, config
    )
    assert str(plan) == "1 new, 0 gone, 0 moved, 0 changed"
    assert contents(tmp_path / "cache") == before


def record(name: str, content: str | None, status: str = "ok") -> SampleRecord:
    return SampleRecord(sample_id=name, path=f"{name}.png", status=status, sha256=content)


def digests(contents: list[str | None]) -> pa.ChunkedArray[Any]:
    return pa.chunked_array([contents], pa.string())


def test_equal_images_are_told_apart_by_their_names() -> None:
    """Three copies of one image: each name keeps its row, and a new copy is new."""
    samples = samples_table([(0, [record("a", "x"), record("b", "x")]), (1, [record("c", "x")])])
    images = [ImageRecord(name, f"{name}.png") for name in "abd"]
    growth = plan_growth(samples, images, digests(["x", "x", "x"]))
    assert str(growth) == "0 new, 0 gone, 1 moved, 0 changed"
    assert [change.place for change in growth.changes] == [(1, 0)]
    four = [ImageRecord(name, f"{name}.png") for name in "abcd"]
    assert (
        str(plan_growth(samples, four, digests(["x"] * 4))) == "1 new, 0 gone, 0 moved, 0 changed"
    )


def test_a_failure_whose_content_was_not_recorded_is_tried_once_more() -> None:
    samples = samples_table([(0, [record("a", None, "failed"), record("b", "y", "failed")])])
    images = [ImageRecord(name, f"{name}.png") for name in "ab"]
    growth = plan_growth(samples, images, digests(["x", "y"]))
    assert str(growth) == "0 new, 0 gone, 0 moved, 0 changed, 1 tried again"
    assert [image.sample_id for image in growth.images] == ["a"]
    assert plan_growth(samples, images, digests([None, None])).nothing


def test_a_listed_image_without_a_file_is_gone() -> None:
    """A table goes on naming it: it is recorded as a failure, once, and may come back."""
    samples = samples_table([(0, [record("a", "x"), record("b", "y")])])
    images = [ImageRecord(name, f"{name}.png") for name in "ab"]
    growth = plan_growth(samples, images, digests([MISSING, "y"]))
    assert str(growth) == "0 new, 1 gone, 0 moved, 0 changed"
    assert [image.sample_id for image in growth.images] == ["a"]
    shards = [(0, [record("a", "x"), record("b", "y")]), (1, [record("a", None, "failed")])]
    samples = samples_table(shards, growth.changes)
    assert plan_growth(samples, images, digests([MISSING, "y"])).nothing
    growth = plan_growth(samples, images, digests(["x", "y"]))
    assert str(growth) == "0 new, 0 gone, 0 moved, 0 changed, 1 back"
    assert [change.gone for change in growth.changes] == [False, True]


def test_an_empty_cache_grows() -> None:
    growth = plan_growth(samples_table([]), [ImageRecord("a", "a.png")], digests(["x"]))
    assert str(growth) == "1 new, 0 gone, 0 moved, 0 changed"
    assert plan_growth(samples_table([]), [], digests([])).nothing


def test_parts_grow_and_are_merged(
    photos: Path, follow: Callable[..., str], same_as_new: Callable[[], Cache], tmp_path: Path
) -> None:
    parts = [(index, 3) for index in (1, 2, 3)]
    for part in parts:
        follow(f"part{part[0]}", part=part)
        assert follow(f"part{part[0]}", part=part) == "0 new, 0 gone, 0 moved, 0 changed"
    for n in range(12):
        draw(photos / f"a_new_{n}.png", n)
    (photos / "image_03.png").unlink()
    (photos / "image_04.png").rename(photos / "moved.png")
    draw(photos / "image_05.png", 99)
    follow("part1", part=parts[0])
    with pytest.raises(DatasetError, match="changed between"):
        merge_caches([tmp_path / f"part{n}" for n in (1, 2, 3)], tmp_path / "no")
    plans = [follow(f"part{part[0]}", part=part) for part in parts[1:]]
    assert sum(int(plan.split(", ")[3].split()[0]) for plan in plans) == 1  # changed
    for part in parts:
        assert verify_cache(tmp_path / f"part{part[0]}").lines() == []
    merge_caches([tmp_path / f"part{n}" for n in (1, 2, 3)], tmp_path / "cache")
    merged = same_as_new()
    assert len(merged) == 8 + 12 - 1
    (photos / "image_00.png").unlink()
    assert follow() == "0 new, 1 gone, 0 moved, 0 changed"  # the whole goes on
    same_as_new()


def test_a_part_without_its_plan_does_not_grow(
    photos: Path, follow: Callable[..., str], tmp_path: Path
) -> None:
    follow("part", part=(1, 2))
    (tmp_path / "part/planned.parquet").unlink()
    assert follow("part", part=(1, 2)) == ""
    draw(photos / "a_new.png", 1)
    with pytest.raises(DatasetError, match="merge the parts"):
        follow("part", part=(1, 2))


UNREADABLE = "unreadable now (their features are kept)"


def one_by_one(
    lines: list[dict[str, Any]], images: list[tuple[str, str, str | None]], listed: list[str]
) -> tuple[str, list[str], list[tuple[int, str | None]]]:
    """Plan a growth image by image; returns the plan, the images to make, and the changes."""
    count: Counter[str] = Counter()
    made, changes = [], []
    live = {line["sample_id"]: n for n, line in enumerate(lines) if line["status"] != "gone"}
    left = set(live.values())
    waiting = []
    for name, path, content in images:
        line = lines[live[name]] if name in live else None
        had = line is not None and line["status"] == "ok"
        count["unreadable"] += had and content is None
        unchanged = line is not None and content and line["sha256"] == content
        if unchanged or (line is not None and not content and not (content == MISSING and had)):
            left.discard(live[name])
            if line is not None and line["path"] != path:
                changes.append((live[name], name))
                count["moved"] += 1
        else:
            waiting.append((name, content, line, had))
    stored = [n for n, line in enumerate(lines) if line["row"] is not None]
    sources = [n for n in stored if n in left and lines[n]["status"] == "ok"]
    sources += [n for n in stored if lines[n]["status"] == "gone"]
    for name, content, line, had in waiting:
        match = next((n for n in sources if content and lines[n]["sha256"] == content), None)
        if match is not None:
            sources.remove(match)
            changes.append((match, name))
            count["moved" if match in left else "back"] += 1
            left.discard(match)
            continue
        made.append(name)
        count["new"] += line is None
        count["gone"] += content == MISSING and had
        if line is not None:
            recorded = line["sha256"] is not None
            count["changed"] += recorded and content != MISSING
            count["tried again"] += not recorded
    names = {name for name, *_ in images}
    for n in sorted(left):
        if lines[n]["sample_id"] not in names:
            if lines[n]["sample_id"] in listed:
                continue
            count["gone"] += 1
        changes.append((n, None))
    plan = [f"{count[what]} {what}" for what in ("new", "gone", "moved", "changed")]
    rare = {"back": "back", "tried again": "tried again", "unreadable": UNREADABLE}
    plan += [f"{count[key]} {what}" for key, what in rare.items() if count[key]]
    return ", ".join(plan), made, sorted(changes)


NAMES, CONTENTS = st.sampled_from("abcdef"), st.sampled_from("xyz")


@given(
    there=st.lists(
        st.tuples(NAMES, CONTENTS | st.none(), st.sampled_from(["ok", "failed", "gone"])),
        max_size=8,
    ),
    now=st.dictionaries(
        NAMES, st.tuples(st.sampled_from("12"), CONTENTS | st.sampled_from([None, MISSING]))
    ),
    listed=st.lists(NAMES, max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_columns_say_what_a_walk_over_the_images_says(
    there: list[tuple[str, str | None, str]],
    now: dict[str, tuple[str, str | None]],
    listed: list[str],
) -> None:
    names = set()
    records, changes = [], []
    for name, content, status in there:
        if status != "gone" and name in names:
            continue  # of images that are there, each has a name of its own
        names |= {name} if status != "gone" else set()
        with_features = status != "failed" and content is not None
        kind = "ok" if with_features else "failed"
        records.append(SampleRecord(sample_id=name, path=f"{name}1", status=kind, sha256=content))
        if status == "gone":
            changes.append(Change(shard=0, image=len(records) - 1))
    samples = samples_table([(0, records)], changes)
    images = [(name, f"{name}{path}", content) for name, (path, content) in now.items()]
    listed = [name for name in listed if name not in now]
    growth = plan_growth(
        samples,
        [ImageRecord(name, path) for name, path, _ in images],
        digests([content for *_, content in images]),
        listed,
    )
    found = [(change.image, change.sample_id) for change in growth.changes]
    made = [image.sample_id for image in growth.images]
    assert (str(growth), made, found) == one_by_one(samples.to_pylist(), images, listed)
