"""A full disk, an I/O error, a limit: one clear error, no partial file, nothing left behind."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.errors import DiskSpaceError, WriteError
from featcache.storage import durable


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def failing(name, code, monkeypatch, after=0):
    """Let the calls of an os function fail, after some that work."""
    real, calls = getattr(os, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=100), max_size=5))
def test_pieces_are_written_in_order(tmp_path, pieces):
    size, digest = durable.write_pieces(tmp_path / "file", pieces)
    content = b"".join(pieces)
    assert (tmp_path / "file").read_bytes() == content
    assert size == len(content)
    assert digest == durable.file_digest(tmp_path / "file", chunk=7)
    assert digest == durable.file_digest(tmp_path / "file", from_disk=True)
    assert names(tmp_path) == ["file"]


def test_short_writes_are_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    durable.write_bytes(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("answer", [0, -1])
def test_the_disk_begins_with_every_part_at_once(tmp_path, monkeypatch, answer):
    """Whatever the kernel answers, as it is advice."""
    told = []

    def begin(descriptor, position, size, flags):
        told.append((position, size, flags))
        return answer

    monkeypatch.setattr(durable, "PART", 4)
    monkeypatch.setattr(durable, "_sync_file_range", begin)
    durable.write_pieces(tmp_path / "file", [b"0123456", b"", b"789"])
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert told == [(0, 4, 2), (4, 3, 2), (7, 1, 2), (8, 2, 2)]


def test_systems_without_early_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_sync_file_range", None)
    durable.write_bytes(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_systems_that_cannot_drop_the_page_cache(tmp_path, monkeypatch):
    durable.write_bytes(tmp_path / "file", b"content")
    expected = durable.file_digest(tmp_path / "file", from_disk=True)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert durable.file_digest(tmp_path / "file", from_disk=True) == expected


@pytest.mark.parametrize("where", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (errno.ENOSPC, DiskSpaceError, "free some space"),
        (errno.EDQUOT, DiskSpaceError, "free some space"),
        (errno.EIO, WriteError, "check the disk"),
        (errno.EROFS, WriteError, "check the disk"),
    ],
)
def test_errors_of_the_disk(tmp_path, monkeypatch, where, code, kind, advice):
    durable.write_bytes(tmp_path / "file", b"old")
    with monkeypatch.context() as patch:
        failing(where, code, patch)
        with pytest.raises(kind, match=advice) as caught:
            durable.write_bytes(tmp_path / "file", b"new")
    message = str(caught.value)
    assert str(tmp_path / "file") in message
    assert os.strerror(code) in message
    assert "\n" not in message
    assert caught.value.errno == code
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_failed_unlink_does_not_hide_the_cause(tmp_path, monkeypatch):
    failing("write", errno.EIO, monkeypatch)
    failing("unlink", errno.EROFS, monkeypatch, after=1)
    with pytest.raises(WriteError, match="Input/output error"):
        durable.write_bytes(tmp_path / "file", b"new")


def test_a_real_limit_of_the_system(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(WriteError, match=r"File too large.*ulimit -f"):
            durable.write_bytes(tmp_path / "file", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == []


def test_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), durable.committed(tmp_path / "file") as temporary:
        assert temporary.write_bytes(b"half") / 0
    assert names(tmp_path) == []


def test_only_our_temporaries_are_removed(tmp_path):
    (tmp_path / "folder.1.tmp").mkdir()
    for name in ("00001.h5.123.tmp", "cache.json.4.tmp", "mine.tmp", "1.tmp.bak", ".7.tmp"):
        (tmp_path / name).touch()
    assert durable.remove_temporaries(tmp_path) == ["00001.h5.123.tmp", "cache.json.4.tmp"]
    assert names(tmp_path) == [".7.tmp", "1.tmp.bak", "folder.1.tmp", "mine.tmp"]


def test_what_a_live_writer_has_staged_stays(tmp_path):
    mine = durable.staged(tmp_path / "00001.h5", 2)
    host = mine.name.removeprefix("00001.h5.").split(".")[0]
    distant = tmp_path / "00001.h5.elsewhere.17.1.tmp"
    forgotten = tmp_path / "00002.h5.elsewhere.17.1.tmp"
    dead = tmp_path / f"00003.h5.{host}.{2**22 + 1}.1.tmp"  # above the largest pid of Linux
    inside = tmp_path / f"{dead.name}.{2**22 + 1}.tmp"  # what `committed` makes of it
    for file in (mine, distant, forgotten, dead, inside):
        file.touch()
    os.utime(forgotten, (0, 0))
    assert all(map(durable.is_temporary, (mine, distant, forgotten, dead, inside)))
    assert durable.remove_temporaries(tmp_path) == sorted([forgotten.name, dead.name, inside.name])
    assert names(tmp_path) == sorted([mine.name, distant.name])


def test_a_link_in_the_place_of_the_temporary_is_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / f"file.{os.getpid()}.tmp").symlink_to(tmp_path / "victim")
    durable.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_new_folders_are_synced_into_their_parents(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "fsync_path", synced.append)
    durable.make_folders(tmp_path / "a/b/c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    durable.make_folders(tmp_path / "a/b/c")
    assert len(synced) == 3


def test_folders_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file.* could not be written.*choose another one"):
        durable.make_folders(tmp_path / "file/folder")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(_full()))
    with pytest.raises(DiskSpaceError, match="free some space"):
        durable.make_folders(tmp_path / "folder")


def _full():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for name in ("", "file", "new", "new/folder/file"):
        durable.require_writable(tmp_path / name)
    assert names(tmp_path) == ["file"]
    with pytest.raises(WriteError, match=r"file/new could not be written: Not a directory"):
        durable.require_writable(tmp_path / "file/new")
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != tmp_path)
    for name in ("", "file", "new/folder"):
        with pytest.raises(WriteError, match="no permission to write in"):
            durable.require_writable(tmp_path / name)


def test_json(tmp_path):
    durable.write_json(tmp_path / "file", {"b": 1, "a": [2]})
    assert (tmp_path / "file").read_text() == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'


def test_a_folder_has_its_name_when_all_is_in_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "fsync_path", synced.append)
    folder = tmp_path / "new" / "folder"
    with durable.committed_folder(folder) as unfinished:
        (unfinished / "in").mkdir()
        (unfinished / "in" / "file").write_text("whole")
        assert not folder.exists()
        before = len(synced)
    assert (folder / "in" / "file").read_text() == "whole"
    assert names(folder.parent) == ["folder"]
    assert [path.name for path in synced[before:-2]] == ["in", "file"]
    assert synced[-1] == folder.parent


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    folder = tmp_path / "folder"

    def fill(error):
        with durable.committed_folder(folder) as unfinished:
            (unfinished / "file").touch()
            raise error

    with pytest.raises(DiskSpaceError):
        fill(_full())
    with pytest.raises(KeyboardInterrupt):
        fill(KeyboardInterrupt)
    assert names(tmp_path) == []
    folder.mkdir()  # empty: it is replaced
    with durable.committed_folder(folder) as unfinished:
        (unfinished / "file").touch()
    with pytest.raises(WriteError), durable.committed_folder(folder) as unfinished:
        (unfinished / "other").touch()
    assert names(folder) == ["file"]
    assert names(tmp_path) == ["folder"]
