import errno
import multiprocessing
import os
import re
import socket

import pytest

from featcache.errors import CacheLockedError, CacheNotFoundError, WriteError
from featcache.storage.lock import reading, writing


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


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    import errno
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(WriteError, match="no locks"), writing(tmp_path):
        pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), writing(tmp_path):
        pass
    assert (tmp_path / "victim").read_text() == "precious"
