"""The driver: whatever happens to workers, the files are those of one process."""

import os
import random
import shutil
import signal
from collections import Counter

import pytest

from featcache.datasets import open_dataset
from featcache.distributed import worker as working
from featcache.errors import DiskSpaceError, TooManyFailuresError, WorkersError
from featcache.extraction.engine import in_this_process
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.verify import verify_cache
from featcache.storage.history import read_history
from featcache.storage.makers import makers

SMALL = {"batch_size": 2, "workers": 1, "shard_size": 1, "max_failures": 1.0}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, image_dataset, tiny_backbone, contents):
    """The files of one process, one image per shard."""
    out = tmp_path_factory.mktemp("expected") / "c"
    extract(image_dataset, out, tiny_backbone, ExtractConfig(**SMALL))
    return contents(out)


@pytest.fixture
def run(tmp_path, image_dataset, tiny_backbone, virtual):
    """Return a function: extract with virtual workers; returns summary, engine and events."""

    def start(plan=None, workers=3, patience=60.0, **changes):
        engine = virtual.Engine(plan or virtual.Plan(), workers, patience)
        events = []
        config = ExtractConfig(**(SMALL | changes))
        try:
            summary = extract(
                image_dataset, tmp_path / "c", tiny_backbone, config, events.append, engine
            )
        finally:
            start.engine, start.events = engine, events
        return summary

    return start


def test_the_files_are_those_of_one_process(run, tmp_path, contents, expected):
    summary = run()
    assert contents(tmp_path / "c") == expected
    assert (summary.images, summary.failed) == (8, 2)
    assert set(summary.rates) == {"device0", "device1"}
    assert all(rate > 0 for rate in summary.rates.values())
    given = Counter(worker for worker, _, _ in run.engine.fleet.given)
    assert len(given) == 3  # all have worked
    assert run.engine.fleet.closed


def test_the_history_says_which_device_made_which_shard(run, tmp_path):
    run()
    (line,) = read_history(tmp_path / "c")[0]
    assert set(line["shards"]) == {"device0", "device1"} == set(makers(tmp_path / "c"))
    assert verify_cache(tmp_path / "c").ok
    assert not (tmp_path / "c/.makers").exists()


def test_who_made_a_shard_is_known_after_a_run_that_was_cut_short(virtual, run, tmp_path):
    with pytest.raises(WorkersError, match="workers died with each"):
        run(virtual.Plan(fate=lambda _, order: "die" if order.number == 9 else None), workers=2)
    before = makers(tmp_path / "c")
    assert set(before) == {"device0", "device1"}
    with (tmp_path / "c/.makers").open("ab") as file:
        file.write(b'\n[3, "cut by a full di')
    run(workers=1)
    (line,) = read_history(tmp_path / "c")[0]
    assert line["shards"] == makers(tmp_path / "c")
    # The second run had one worker, for what was left and for shards without any readable image.
    assert "device1" in line["shards"]
    assert sum(len(_numbers(found)) for found in line["shards"].values()) == 10


def _numbers(ranges):
    parts = [part.split("-") for part in ranges.split(",")]
    return [n for part in parts for n in range(int(part[0]), int(part[-1]) + 1)]


def test_progress_counts_all_workers(run):
    run()
    last = [event for event in run.events if event.kind == "shard"][-1]
    assert (last.done, last.total, last.failed) == (10, 10, 2)
    assert max(event.workers for event in run.events) == 3


@pytest.mark.parametrize("seed", range(8))
def test_random_deaths_lose_nothing(virtual, run, tmp_path, contents, expected, seed):
    chance = random.Random(seed)
    kills = Counter()

    def fate(worker, order):
        if order.attempt < 3 and chance.random() < 0.4:
            kills[order.number] += 1
            return chance.choice(["die", "gone"])
        return None

    run(virtual.Plan(fate=fate), workers=chance.randint(1, 4))
    assert contents(tmp_path / "c") == expected
    assert kills


def test_a_shard_that_kills_three_workers_is_set_aside(virtual, run, tmp_path, contents, expected):
    guilty = {4}

    def fate(worker, order):
        return "die" if order.number in guilty else None

    with pytest.raises(WorkersError, match=r"shards/00004.h5: shard 4 has killed it") as raised:
        run(virtual.Plan(fate=fate))
    assert "the same command goes on" in str(raised.value)
    names = {f"{n:05d}.h5" for n in range(10) if n not in guilty}
    assert {path.name for path in (tmp_path / "c/shards").iterdir()} == names
    assert [n for _, n, _ in run.engine.fleet.given].count(4) == 3
    guilty.clear()
    # Shards without any readable image are tried again: 2 and 7.
    assert run(virtual.Plan(fate=fate)).reused == 7
    assert contents(tmp_path / "c") == expected


def test_an_innocent_neighbor_is_not_set_aside(virtual, run, tmp_path, contents):
    # Both are held when the worker dies; from then on each is given alone.
    with pytest.raises(WorkersError, match="not made: 1 shard,"):
        run(virtual.Plan(fate=lambda _, order: "die" if order.number == 1 else None), workers=1)
    assert (tmp_path / "c/shards/00000.h5").exists()
    assert len(list((tmp_path / "c/shards").glob("*.h5"))) == 9


def test_a_machine_that_goes_is_no_ones_fault(virtual, run, tmp_path, contents, expected):
    gone = Counter()

    def fate(worker, order):
        gone[order.number] += 1
        return "gone" if order.number == 3 and gone[3] <= 5 else None

    run(virtual.Plan(fate=fate))
    assert contents(tmp_path / "c") == expected
    assert not run.engine.driver.deaths


def test_a_frozen_worker_is_replaced_and_its_late_shards_are_dropped(
    virtual, run, tmp_path, contents, expected
):
    def fate(worker, order):
        return "freeze" if order.number == 2 and order.attempt == 1 else None

    run(virtual.Plan(fate=fate, thaw=True), patience=5.0)
    assert contents(tmp_path / "c") == expected
    assert max(event.retried for event in run.events) >= 1
    assert max(attempt for _, _, attempt in run.engine.fleet.given) == 2


def test_a_signal_finishes_what_is_under_way(virtual, run, tmp_path, contents, expected):
    def after(fleet):
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    once = [after]
    with pytest.raises(KeyboardInterrupt):
        run(virtual.Plan(after=lambda fleet: once.pop()(fleet) if once else None))
    given = {n for _, n, _ in run.engine.fleet.given}
    made = {path.name for path in (tmp_path / "c/shards").iterdir()}
    assert made == {f"{n:05d}.h5" for n in given}
    assert len(made) < 10
    assert run().reused == len(given - {2, 7})  # these are tried again: nothing was readable
    assert contents(tmp_path / "c") == expected


def test_failures_count_over_all_workers(run):
    with pytest.raises(TooManyFailuresError, match=r"of 10 images, more"):
        run(max_failures=0.1)


def test_a_full_disk_ends_the_run_with_what_to_do(run, tmp_path, monkeypatch, contents, expected):
    real = working.ShardMaker.write

    def write(self, path, number, content):
        if number == 5:
            raise DiskSpaceError("shards/00005.h5 could not be written: No space left on device")
        return real(self, path, number, content)

    monkeypatch.setattr(working.ShardMaker, "write", write)
    with pytest.raises(DiskSpaceError, match="No space left"):
        run()
    monkeypatch.undo()
    run()
    assert contents(tmp_path / "c") == expected


def test_a_worker_that_sees_something_else_ends_the_run(virtual, run, tmp_path):
    refusals = {1: "does not see this machine's folder: mount it"}
    with pytest.raises(WorkersError, match="node1 does not see"):
        run(virtual.Plan(refusals=refusals))
    assert not list((tmp_path / "c/shards").iterdir())


def test_a_worker_that_comes_back_elsewhere_is_left_out(virtual, run, tmp_path, contents, expected):
    plan = virtual.Plan()

    def fate(worker, order):
        if worker == 2 and not plan.refusals:
            plan.refusals[2] = "has pillow 1.0, and this machine 2.0: install the same"
            return "gone"
        return None

    plan.fate = fate
    run(plan)
    assert contents(tmp_path / "c") == expected
    (note,) = [event.text for event in run.events if event.kind == "note"]
    assert note.startswith("a worker is left out: node2 has pillow 1.0")


def test_without_any_worker_left_the_run_ends(virtual, run):
    plan = virtual.Plan()

    def fate(worker, order):
        plan.refusals = dict.fromkeys(range(3), "has another Python")
        return "gone"

    plan.fate = fate
    with pytest.raises(WorkersError, match="has another Python"):
        run(plan)


def test_a_file_that_did_not_arrive_whole_is_made_again(virtual, run, tmp_path, contents, expected):
    cut = []

    def after(fleet):
        if not cut:
            cut.append(fleet.events[-1].receipt)
            file = tmp_path / "c/shards" / cut[0].file
            file.write_bytes(file.read_bytes()[:-1])

    run(virtual.Plan(after=after))
    assert contents(tmp_path / "c") == expected
    assert run.engine.driver.deaths == {cut[0].number: 1}


def test_a_cache_that_grows_is_followed(tmp_path, image_folder, tiny_backbone, virtual, contents):
    photos = tmp_path / "photos"
    shutil.copytree(image_folder, photos)
    engines = {"one": in_this_process, "many": virtual.Engine()}

    def follow():
        for name, engine in engines.items():
            dataset, config = open_dataset("folder", photos), ExtractConfig(**SMALL)
            extract(dataset, tmp_path / name, tiny_backbone, config, engine=engine)

    follow()
    (photos / "image_00.png").rename(photos / "zero.png")
    (photos / "image_01.png").unlink()
    shutil.copy(photos / "image_05.png", photos / "again.png")
    follow()
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
