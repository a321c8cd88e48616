"""SIGKILL and power loss at any point: what is left resumes to the bytes of an unbroken run."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from featcache.datasets import open_dataset
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage import durable
from featcache.storage.durable import write_bytes

CONFIG = ExtractConfig(views=("original", "hflip"), batch_size=2, workers=1, shard_size=3)
KILLED = -9


class Worker:
    def __init__(self, config: Path, images: Path) -> None:
        script = Path(__file__).with_name("crash_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(config), str(images)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def extract(self, out: Path, at: int | None = None, after: float | None = None) -> dict:
        print(json.dumps({"out": str(out), "at": at, "after": after}), file=self.process.stdin)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def worker(tiny_config, image_folder):
    worker = Worker(tiny_config, image_folder)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def uninterrupted(worker, tmp_path_factory, contents):
    """Contents of an uninterrupted run, and how many calls it made that changed the disk."""
    out = tmp_path_factory.mktemp("uninterrupted") / "cache"
    answer = worker.extract(out)
    assert answer["status"] == 0
    return contents(out), answer["calls"]


def kill_until_done(worker, out: Path, points: list[dict], expected: dict, contents) -> int:
    """Kill at each point, resuming in between; returns how often it was really killed."""
    killed = 0
    for point in points:
        status = worker.extract(out, **point)["status"]
        assert status in (0, KILLED)
        killed += status == KILLED
        if killed and (out / "cache.json").exists():
            assert verify_cache(out).ok  # whatever has a final name is whole
    assert worker.extract(out)["status"] == 0
    assert contents(out) == expected
    assert verify_cache(out).ok
    assert verify_cache(out).extra == ()
    return killed


def test_the_oracle_is_a_whole_cache(uninterrupted, small_cache, contents):
    files, calls = uninterrupted
    assert files == contents(small_cache)
    assert {"cache.json", "labels.parquet", "samples.parquet", "prompts.h5"} < files.keys()
    assert calls > 50


@pytest.mark.parametrize("seed", range(10))
def test_killed_anywhere_and_resumed(worker, uninterrupted, tmp_path, seed, contents):
    expected, calls = uninterrupted
    generator = random.Random(seed)
    points = [{"at": generator.randrange(calls)} for _ in range(1 + seed % 3)]
    assert kill_until_done(worker, tmp_path / "cache", points, expected, contents) >= 1


@pytest.mark.slow
def test_killed_at_every_call_and_resumed(worker, uninterrupted, tmp_path, contents):
    expected, calls = uninterrupted
    for at in range(calls):
        assert kill_until_done(worker, tmp_path / f"{at}", [{"at": at}], expected, contents) == 1


@pytest.mark.slow
def test_killed_at_random_times_and_resumed(worker, uninterrupted, tmp_path, contents):
    expected, _ = uninterrupted
    generator = random.Random(0)
    killed = 0
    for n in range(60):
        points = [{"after": generator.uniform(0, 0.2)} for _ in range(2)]
        killed += kill_until_done(worker, tmp_path / f"{n}", points, expected, contents)
    assert killed >= 60


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
        self.folders: dict[int, dict[str, int]] = {self._inode(root): self._entries(root)}
        self.held: list[int] = []  # descriptors, so that no inode is used twice
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

    def _synced(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        self.held.append(os.dup(descriptor))
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

    def lose(action, at: int, seed: int) -> Path | None:
        root, recovered = tmp_path / f"{at}-{seed}", tmp_path / f"{at}-{seed}-recovered"
        root.mkdir()
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
