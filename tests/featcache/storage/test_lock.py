import errno
import multiprocessing
import os
import re
import socket

import pytest

from featcache.errors import (
    CacheLockedError,
    CacheNotFoundError,
    DiskSpaceError,
    FolderLockedError,
    WriteError,
)
from featcache.storage import lock
from featcache.storage.lock import alone, reading, writing


def hold(folder, ready):
    with writing(folder):
        ready.set()
        ready.wait()  # set already; then keep the lock until killed
        import time

        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_the_second_writer_is_told_who_holds_it(tmp_path, holder):
    owner = re.escape(f"process {holder.pid} on {socket.gethostname()}")
    for mode in (writing, reading):
        with pytest.raises(CacheLockedError, match=owner), mode(tmp_path):
            pass
    holder.kill()
    holder.join()
    assert str(holder.pid) in (tmp_path / ".lock").read_text()  # stale, and no obstacle
    with writing(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert (tmp_path / ".lock").read_bytes() == b""


def test_readers_share_and_keep_writers_out(tmp_path):
    with writing(tmp_path):
        pass
    refused = pytest.raises(CacheLockedError, match="another process is using")
    with reading(tmp_path), reading(tmp_path), refused, writing(tmp_path):
        pass
    with writing(tmp_path):
        pass


@pytest.mark.parametrize("kernel", [True, False])
def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch, kernel):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if not kernel:
        monkeypatch.setattr(lock, "fcntl", None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite" if kernel else "write", full)
        with pytest.raises(DiskSpaceError, match=r"lock.* No space left"), writing(tmp_path):
            pass
    with writing(tmp_path):  # nothing is left behind that would stand for a lock
        pass


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(CacheNotFoundError, match="no such folder"), writing(tmp_path / "none"):
        pass
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(denied))
    refused = pytest.raises(WriteError, match="cannot be written to: Permission denied")
    with refused, writing(tmp_path):
        pass


def test_reading_needs_no_lock_file(tmp_path):
    with reading(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        raise ZeroDivisionError
    with writing(tmp_path):
        pass


@pytest.fixture(params=["no module", "no locks"])
def without_locks(request, monkeypatch):
    """A system, or a file system, that has no flock."""
    if request.param == "no module":
        monkeypatch.setattr(lock, "fcntl", None)
        return

    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)


def test_a_file_stands_for_the_lock(tmp_path, without_locks):
    for mode in (writing, reading):
        with writing(tmp_path):
            refused = pytest.raises(CacheLockedError, match=f"process {os.getpid()} on .* delete")
            with refused, mode(tmp_path):
                pass
            assert (tmp_path / ".lock.held").exists()
        assert not (tmp_path / ".lock.held").exists()
    with reading(tmp_path), reading(tmp_path):
        pass


def test_a_writer_with_locks_sees_the_file(tmp_path):
    (tmp_path / ".lock.held").write_text('{"pid": 1, "host": "elsewhere"}')
    for mode in (writing, reading):
        with writing_is_known(tmp_path), mode(tmp_path):
            pass
    (tmp_path / ".lock.held").unlink()
    with writing(tmp_path):
        pass


def writing_is_known(folder):
    (folder / ".lock").touch()
    return pytest.raises(CacheLockedError, match="process 1 on elsewhere")


def test_a_disk_that_fails(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lock.fcntl, "flock", fails)
    with pytest.raises(WriteError, match="cannot be locked"), writing(tmp_path):
        pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), writing(tmp_path):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_one_process_at_a_time_in_a_folder(tmp_path, holder):
    owner = re.escape(f"process {holder.pid} on {socket.gethostname()} is at work in this folder")
    with pytest.raises(FolderLockedError, match=owner), alone(tmp_path):
        pass
    holder.kill()
    holder.join()
    with alone(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert (tmp_path / ".lock").read_bytes() == b""


def test_without_locks_nobody_is_kept_out_of_a_folder(tmp_path, monkeypatch):
    """A worker that was killed must be able to try again; so no file stands for the lock."""
    monkeypatch.setattr(lock, "fcntl", None)
    with alone(tmp_path), alone(tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_a_folder_without_rights_is_told(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(WriteError, match="cannot be written to: Permission denied"),
        alone(tmp_path),
    ):
        pass
