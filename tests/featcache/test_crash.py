"""SIGKILL and power loss at any point: what is left resumes to the bytes of an unbroken run.

Of a first extraction, of a cache that follows its folder, and of one that is compacted.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.errors import CacheNotFoundError
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.compact import compact_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage import durable
from featcache.storage.durable import write_bytes

CONFIG = ExtractConfig(views=("original", "hflip"), batch_size=2, workers=1, shard_size=3)
KILLED = -9


class Worker:
    def __init__(self, config: Path) -> None:
        script = Path(__file__).with_name("crash_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def write(
        self, out: Path, images: Path | None, at: int | None = None, after: float | None = None
    ) -> dict:
        """Extract images into a cache, or compact it where there are none."""
        where = {"out": str(out), "images": images and str(images)}
        print(json.dumps({**where, "at": at, "after": after}), file=self.process.stdin)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def worker(tiny_config):
    worker = Worker(tiny_config)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def uninterrupted(worker, image_folder, tmp_path_factory, contents):
    """Contents of an uninterrupted run, and how many calls it made that changed the disk."""
    out = tmp_path_factory.mktemp("uninterrupted") / "cache"
    answer = worker.write(out, image_folder)
    assert answer["status"] == 0
    return contents(out), answer["calls"]


def kill_until_done(worker, out, images, points: list[dict], expected: dict, contents) -> int:
    """Kill at each point, resuming in between; returns how often it was really killed."""
    killed = 0
    before = state(out)
    seen = set()
    for point in points:
        status = worker.write(out, images, **point)["status"]
        assert status in (0, KILLED)
        killed += status == KILLED
        if killed and (out / "cache.json").exists():
            assert verify_cache(out).ok  # whatever has a final name is whole
            seen.add(state(out))
    assert worker.write(out, images)["status"] == 0
    # At any time readers see what was there, or nothing, or what there is at the end.
    assert seen <= {before, None, state(out)}
    assert contents(out) == expected
    assert verify_cache(out).ok
    assert verify_cache(out).extra == ()
    return killed


def state(cache: Path) -> str | None:
    """What readers see of a cache; None where they are told that it is not finished."""
    try:
        return Cache.open(cache).state
    except CacheNotFoundError:
        return None


def test_the_oracle_is_a_whole_cache(uninterrupted, small_cache, contents):
    files, calls = uninterrupted
    assert files == contents(small_cache)
    assert {"cache.json", "labels.parquet", "samples.parquet", "prompts.h5"} < files.keys()
    assert calls > 50


@pytest.mark.parametrize("seed", range(5))
def test_killed_anywhere_and_resumed(worker, image_folder, uninterrupted, tmp_path, seed, contents):
    expected, calls = uninterrupted
    generator = random.Random(seed)
    points = [{"at": generator.randrange(calls)} for _ in range(1 + seed % 3)]
    out = tmp_path / "cache"
    assert kill_until_done(worker, out, image_folder, points, expected, contents) >= 1


@pytest.mark.slow
def test_killed_at_every_call_and_resumed(worker, image_folder, uninterrupted, tmp_path, contents):
    expected, calls = uninterrupted
    for at in range(calls):
        out, points = tmp_path / f"{at}", [{"at": at}]
        assert kill_until_done(worker, out, image_folder, points, expected, contents) == 1


@pytest.mark.slow
def test_killed_at_random_times_and_resumed(
    worker, image_folder, uninterrupted, tmp_path, contents
):
    expected, _ = uninterrupted
    generator = random.Random(0)
    killed = 0
    for n in range(60):
        points = [{"after": generator.uniform(0, 0.2)} for _ in range(2)]
        out = tmp_path / f"{n}"
        killed += kill_until_done(worker, out, image_folder, points, expected, contents)
    assert killed >= 60


class Changing:
    """A cache before a change, the folder that it follows then, and what an unbroken run makes.

    ``images`` is None where the cache is compacted.
    """

    def __init__(self, worker, before: Path, images: Path | None, after: Path, contents) -> None:
        self.before, self.images = before, images
        shutil.copytree(before, after)
        answer = worker.write(after, images)
        assert answer["status"] == 0
        assert verify_cache(after).lines() == []
        self.expected, self.calls = contents(after), answer["calls"]


@pytest.fixture(scope="module")
def changing(worker, image_folder, tmp_path_factory, contents):
    """Return what happens to a cache, by name: it grows, follows new names, is compacted."""
    root = tmp_path_factory.mktemp("changing")
    assert worker.write(root / "first", image_folder)["status"] == 0

    grown = Path(shutil.copytree(image_folder, root / "grown images"))
    table = (grown / "labels.csv").read_text()
    for n in range(4):
        Image.new("RGB", (20, 20), (60 * n, 9, 9)).save(grown / f"a_{n}.png")
        table += f"a_{n}.png,number of cats.,{n},count,train,\n"
    (grown / "image_01.png").unlink()
    (grown / "image_03.png").rename(grown / "b_3.png")
    Image.new("RGB", (20, 20), "green").save(grown / "image_05.png")
    (grown / "labels.csv").write_text(table.replace("image_03.png", "b_3.png"))

    renamed = Path(shutil.copytree(image_folder, root / "renamed images"))
    for name in ("image_00", "image_09"):
        (renamed / f"{name}.png").rename(renamed / f"{name}_x.png")
    table = (renamed / "labels.csv").read_text()
    table = table.replace("image_00", "image_00_x").replace("image_09", "image_09_x")
    (renamed / "labels.csv").write_text(table)

    first = root / "first"
    return {
        "growing": Changing(worker, first, grown, root / "second", contents),
        "renaming": Changing(worker, first, renamed, root / "third", contents),
        "compacting": Changing(worker, root / "second", None, root / "fourth", contents),
    }


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("what", ["growing", "renaming", "compacting"])
def test_killed_while_a_cache_changes(worker, changing, what, seed, tmp_path, contents):
    change = changing[what]
    generator = random.Random(seed)
    points = [{"at": generator.randrange(change.calls)} for _ in range(1 + seed % 2)]
    out = Path(shutil.copytree(change.before, tmp_path / "cache"))
    killed = kill_until_done(worker, out, change.images, points, change.expected, contents)
    assert killed >= 1


@pytest.mark.slow
@pytest.mark.parametrize("what", ["growing", "renaming", "compacting"])
def test_killed_at_every_call_while_a_cache_changes(worker, changing, what, tmp_path, contents):
    change = changing[what]
    for at in range(change.calls):
        out = Path(shutil.copytree(change.before, tmp_path / f"{at}"))
        points = [{"at": at}]
        killed = kill_until_done(worker, out, change.images, points, change.expected, contents)
        assert killed == 1


class PowerLoss(BaseException):
    """The computer went off; nothing that follows reaches the disk."""


class Disk:
    """What would be on the disk if the power went now: only what was fsynced is certain.

    A file has the bytes of its last fsync, or any part of what was written since, or zeros. A
    folder has the entries of its last fsync, and of each later change either state.
    """

    def __init__(self, root: Path, monkeypatch, at: int, seed: int, recovered: Path) -> None:
        self.root, self.at, self.recovered = root, at, recovered
        self.generator = random.Random(seed)
        self.calls = 0
        self.files: dict[int, bytes] = {}  # inode -> bytes at its last fsync
        self.folders: dict[int, dict[str, int]] = {}
        self.held: list[int] = []  # descriptors, so that no inode is used twice
        for path in [root, *root.rglob("*")]:  # what was there before is on the disk
            self._synced(os.open(path, os.O_RDONLY), held=True)
        self.real = {name: getattr(os, name) for name in ("write", "fsync", "replace", "mkdir")}
        for name in self.real:
            monkeypatch.setattr(os, name, self._hook(name))

    def _hook(self, name):
        def call(*args, **kwargs):
            if self.calls == self.at:
                self.calls += 1
                self.lose_power()
            if self.calls > self.at:
                raise PowerLoss
            self.calls += 1
            result = self.real[name](*args, **kwargs)
            if name == "fsync":
                self._synced(args[0])
            return result

        return call

    def _inode(self, path) -> int:
        return Path(path).stat().st_ino

    def _entries(self, folder) -> dict[str, int]:
        return {path.name: path.lstat().st_ino for path in Path(folder).iterdir()}

    def _synced(self, descriptor: int, *, held: bool = False) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        self.held.append(descriptor if held else os.dup(descriptor))
        if path.is_dir():
            self.folders[self._inode(path)] = self._entries(path)
        else:
            self.files[self._inode(path)] = path.read_bytes()

    def lose_power(self) -> None:
        now = {}  # inode -> path, of everything that can be seen now
        for path in [self.root, *self.root.rglob("*")]:
            now[self._inode(path)] = path
        self.real["mkdir"](self.recovered)
        self._recover(self._inode(self.root), now, self.recovered)
        raise PowerLoss

    def _recover(self, folder: int, now: dict[int, Path], target: Path) -> None:
        synced = self.folders.get(folder, {})
        seen = self._entries(now[folder]) if folder in now else synced
        for name in synced.keys() | seen.keys():
            inode = self.generator.choice([synced.get(name), seen.get(name)])
            if inode is None:
                continue
            path = now.get(inode)
            if inode in self.folders or (path and path.is_dir()):
                self.real["mkdir"](target / name)
                self._recover(inode, now, target / name)
            else:
                (target / name).write_bytes(self._content(inode, path))

    def _content(self, inode: int, path: Path | None) -> bytes:
        if inode in self.files:
            return self.files[inode]
        written = path.read_bytes() if path else b""
        part = self.generator.randrange(len(written) + 1)
        return self.generator.choice([b"", written[:part], bytes(len(written)), written])


@pytest.fixture
def power_loss(tmp_path, monkeypatch):
    """Run something, take the power away at a call; returns the disk after it, None if it ran."""

    def lose(action, at: int, seed: int, before: Path | None = None) -> Path | None:
        root, recovered = tmp_path / f"{at}-{seed}", tmp_path / f"{at}-{seed}-recovered"
        root.mkdir()
        if before:
            shutil.copytree(before, root / "cache")
        with monkeypatch.context() as patch:
            disk = Disk(root, patch, at, seed, recovered)
            try:
                action(root)
            except PowerLoss:
                lost = recovered
            else:
                lost = None
        for descriptor in disk.held:
            os.close(descriptor)
        return lost

    return lose


def survives(power_loss) -> bool:
    """Whether a file is old or new, and what was committed there, whenever the power goes."""
    old, new = b"old" * 1000, b"new" * 2000
    for seed in range(8):
        for at in range(100):
            committed = []

            def action(root, committed=committed):
                write_bytes(root / "file", old)
                committed.append(old)
                write_bytes(root / "file", new)
                committed.append(new)

            after = power_loss(action, at, seed)
            if after is None:
                assert at > 5
                break
            assert after.is_dir()
            found = (after / "file").read_bytes() if (after / "file").exists() else None
            if found not in {0: (None, old), 1: (old, new)}[len(committed)]:
                return False
    return True


def test_a_committed_file_is_old_or_new(power_loss):
    assert survives(power_loss)


@pytest.mark.parametrize("forgotten", [Path.is_dir, Path.is_file])
def test_the_simulation_notices_a_sync_that_is_forgotten(power_loss, monkeypatch, forgotten):
    real = durable.fsync_path
    monkeypatch.setattr(durable, "fsync_path", lambda p: None if forgotten(p) else real(p))
    assert not survives(power_loss)


def lose_power_and_resume(
    power_loss, image_folder, tiny_backbone, small_cache, at, seed, contents
) -> bool:
    dataset = open_dataset("table", image_folder)
    after = power_loss(
        lambda root: extract(dataset, root / "cache", tiny_backbone, CONFIG), at, seed
    )
    if after is None:
        return False
    cache = after / "cache"
    if (cache / "cache.json").exists():
        assert verify_cache(cache).ok
    extract(dataset, cache, tiny_backbone, CONFIG)
    assert contents(cache) == contents(small_cache)
    assert len(Cache.open(cache)) == 8
    return True


@pytest.mark.parametrize("seed", range(10))
def test_power_loss_during_an_extraction(
    power_loss, image_folder, tiny_backbone, small_cache, seed, contents
):
    at = random.Random(seed).randrange(60)
    assert lose_power_and_resume(
        power_loss, image_folder, tiny_backbone, small_cache, at, seed, contents
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_power_loss_at_every_call_of_an_extraction(
    power_loss, image_folder, tiny_backbone, small_cache, seed, contents
):
    at = 0
    while lose_power_and_resume(
        power_loss, image_folder, tiny_backbone, small_cache, at, seed, contents
    ):
        at += 1
    assert at > 50


def lose_power_while_it_changes(power_loss, backbone, change, at, seed, contents) -> bool:
    def write(cache: Path) -> None:
        if change.images:
            extract(open_dataset("table", change.images), cache, backbone, CONFIG)
        else:
            compact_cache(cache)

    after = power_loss(lambda root: write(root / "cache"), at, seed, change.before)
    if after is None:
        return False
    cache = after / "cache"
    assert verify_cache(cache).ok
    write(cache)
    assert contents(cache) == change.expected
    return True


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("what", ["growing", "renaming", "compacting"])
def test_power_loss_while_a_cache_changes(
    power_loss, tiny_backbone, changing, what, seed, contents
):
    at = random.Random(seed).randrange(changing[what].calls // 2)
    assert lose_power_while_it_changes(
        power_loss, tiny_backbone, changing[what], at, seed, contents
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["growing", "renaming", "compacting"])
def test_power_loss_at_every_call_while_a_cache_changes(
    power_loss, tiny_backbone, changing, what, contents
):
    at = 0
    while lose_power_while_it_changes(power_loss, tiny_backbone, changing[what], at, at, contents):
        at += 1
    assert at > 15
