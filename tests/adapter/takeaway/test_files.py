"""Folders, sidecars, embedding and the log: what is done, and that it can be undone."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from adapter.errors import ConfigError
from adapter.takeaway.folder import carry_out, plan_folder
from adapter.takeaway.jpeg import embed
from adapter.takeaway.log import ActionLog, UndoError, undo
from adapter.takeaway.sidecars import photo_marks, plan_sidecars, write_sidecars
from adapter.takeaway.xmp import Marks, XmpError, merge, read_marks
from featcache.errors import DatasetError

ORDER = ["c.jpg", "trip/a.jpg", "trip/b.png"]


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    (root / "trip").mkdir(parents=True)
    for number, name in enumerate(["trip/a.jpg", "trip/b.png", "c.jpg"]):
        (root / name).write_bytes(bytes([number]) * 50)
    return root


def tree(folder):
    """Every file below a folder with its digest, every link with its target."""
    return {
        str(p.relative_to(folder)): str(p.readlink())
        if p.is_symlink()
        else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


@pytest.mark.parametrize("how", ["link", "copy", "move"])
def test_photos_are_named_by_place_and_everything_is_undone(photos, tmp_path, how):
    before = tree(photos)
    plan = plan_folder(photos, ORDER, tmp_path / "best" / "of")
    assert tree(photos) == before
    assert not (tmp_path / "best").exists()
    with ActionLog(tmp_path / "log.jsonl") as log:
        assert carry_out(plan, how, log) == 3
    names = ["0001_c.jpg", "0002_a.jpg", "0003_b.png"]
    assert sorted(p.name for p in (tmp_path / "best" / "of").iterdir()) == names
    assert (tmp_path / "best/of/0002_a.jpg").read_bytes() == bytes(50)
    assert (tree(photos) == before) == (how != "move")
    done = undo(tmp_path / "log.jsonl")
    assert (done.count, done.left) == (4, {})
    assert tree(photos) == before
    assert not (tmp_path / "best" / "of").exists()
    assert undo(tmp_path / "log.jsonl").count == 0


def test_a_raw_file_goes_where_its_jpeg_goes(photos, tmp_path):
    for name in ("c.NEF", "c.dng", "c.txt", "cc.NEF", "trip/b.cr2", "trip/a.ARW"):
        (photos / name).write_bytes(name.encode())
    before = tree(photos)
    plan = plan_folder(photos, ORDER, tmp_path / "out", [*ORDER, "trip/a.ARW"])  # its own photo
    with ActionLog(tmp_path / "log.jsonl") as log:
        assert carry_out(plan, "move", log) == 5
    names = ["0001_c.NEF", "0001_c.dng", "0001_c.jpg", "0002_a.jpg", "0003_b.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out/0001_c.NEF").read_bytes() == b"c.NEF"
    undo(tmp_path / "log.jsonl")
    assert tree(photos) == before


def test_what_somebody_has_changed_since_is_left(photos, tmp_path):
    with ActionLog(tmp_path / "log.jsonl") as log:
        carry_out(plan_folder(photos, ORDER, tmp_path / "out"), "copy", log)
    (tmp_path / "out/0001_c.jpg").write_bytes(b"edited")
    done = undo(tmp_path / "log.jsonl")
    assert done.count == 2
    assert list(done.left.values()) == ["it was changed since"]
    assert (tmp_path / "out/0001_c.jpg").read_bytes() == b"edited"


def test_a_log_that_ends_within_a_line_is_undone(photos, tmp_path):
    with ActionLog(tmp_path / "log.jsonl") as log:
        carry_out(plan_folder(photos, ORDER, tmp_path / "out"), "copy", log)
        log.note("copy", tmp_path / "out/never", source="x", digest="y")  # killed before it
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"kind": "co')
    assert undo(tmp_path / "log.jsonl").count == 4


def test_plans_and_logs_that_make_no_sense_are_refused(photos, tmp_path):
    with pytest.raises(ConfigError, match="not there"):
        plan_folder(photos, ["gone.jpg"], tmp_path / "out")
    with pytest.raises(DatasetError, match="contains"):
        plan_folder(photos, ["../secret"], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0001_c.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match="is there already"):
        plan_folder(photos, ORDER, tmp_path / "out")
    (tmp_path / "log").write_text("{}\n")
    with pytest.raises(UndoError, match="not a log"):
        undo(tmp_path / "log")
    with pytest.raises(UndoError, match="cannot be read"):
        undo(tmp_path / "none")
    with pytest.raises(UndoError, match="name another log"):
        ActionLog(tmp_path / "log")


def test_sidecars_of_both_spellings_are_merged_backed_up_once_and_undone(photos, tmp_path):
    old = merge(None, Marks(rating=1, keywords=("old",)))
    (photos / "c.xmp").write_bytes(old)
    (photos / "trip/a.jpg.xmp").write_bytes(old)
    before = tree(photos)
    marks = {photos / name: Marks(rating=5, keywords=("new",)) for name in ORDER}
    changes = plan_sidecars(marks)
    assert tree(photos) == before
    with ActionLog(tmp_path / "log.jsonl") as log:
        assert write_sidecars(changes, log) == 3
    assert (photos / "c.xmp.bak").read_bytes() == old
    assert (photos / "trip/b.png.xmp").is_file()
    assert not (photos / "c.jpg.xmp").exists()
    found = photo_marks(photos / "c.jpg")
    assert (found.rating, found.keywords) == (5, ("old", "new"))
    assert plan_sidecars(marks) == []
    with ActionLog(tmp_path / "log2.jsonl") as log:
        write_sidecars(plan_sidecars({photos / "c.jpg": Marks(rating=2)}), log)
    assert (photos / "c.xmp.bak").read_bytes() == old  # the first content, not the second
    undo(tmp_path / "log2.jsonl")
    undo(tmp_path / "log.jsonl")
    after = tree(photos)
    assert {k: v for k, v in after.items() if not k.endswith(".bak")} == before


def test_a_broken_sidecar_stops_everything_before_anything_is_written(photos):
    (photos / "c.xmp").write_bytes(b"not xml")
    before = tree(photos)
    with pytest.raises(XmpError, match=r"c\.xmp: not well-formed.*nothing was written"):
        plan_sidecars({photos / "trip/a.jpg": Marks(rating=1), photos / "c.jpg": Marks(rating=1)})
    assert tree(photos) == before


def test_a_sidecar_that_changed_meanwhile_is_not_overwritten(photos, tmp_path):
    changes = plan_sidecars({photos / "c.jpg": Marks(rating=1)})
    (photos / "c.jpg.xmp").write_bytes(merge(None, Marks(rating=3)))
    with ActionLog(tmp_path / "log.jsonl") as log, pytest.raises(XmpError, match="just now"):
        write_sidecars(changes, log)


def jpeg(**options):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_embedding_changes_one_segment_and_no_pixel():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = jpeg(exif=exif, progressive=True)
    once = embed(photo, Marks(rating=4, label="Red"))
    twice = embed(once, Marks(keywords=("lake",)))
    for changed in (once, twice):
        with Image.open(io.BytesIO(changed)) as image, Image.open(io.BytesIO(photo)) as before:
            assert image.tobytes() == before.tobytes()
            assert image.getexif()[0x0112] == 6
            marks = read_marks(image.info["xmp"])
            assert (marks.rating, marks.label) == (4, "Red")
    assert marks.keywords == ("lake",)
    start = once.index(b"http://ns.adobe.com/xap/1.0/\0") - 4
    length = int.from_bytes(once[start + 2 : start + 4]) + 2
    assert once[:start] + once[start + length :] == photo


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (b"\x89PNG", "not a JPEG"),
        (jpeg()[:12], "damaged"),
        (jpeg()[:700], "cannot be decoded"),
        (jpeg(xmp=merge(None, Marks(keywords=("x" * 65000,)))), "would not fit"),
    ],
)
def test_what_cannot_be_embedded_is_refused(photo, message):
    with pytest.raises(XmpError, match=message):
        embed(photo, Marks(keywords=("y" * 500,)))
