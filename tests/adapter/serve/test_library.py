"""Photos by row: near-duplicates, and when they were taken."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from adapter.serve import library as module
from adapter.serve.library import Library


def library_of(tmp_path, directions, names):
    """A library of nothing but directions and names."""
    found = Library(cache=names, root=tmp_path, thumbnails=tmp_path / "thumbs")  # for its length
    values = {"directions": directions.astype(np.float32), "paths": names, "samples": names}
    found.__dict__.update(values)
    return found


def grouped(library, threshold, across):
    """By definition: every photo with the next ones by folder and name, then chains."""
    names = library.paths
    order = sorted(range(len(names)), key=lambda row: (os.path.dirname(names[row]), names[row]))  # noqa: PTH120
    group = list(range(len(names)))
    for place, a in enumerate(order):
        for b in order[place + 1 : place + 1 + module.WINDOW]:
            same = os.path.dirname(names[a]) == os.path.dirname(names[b])  # noqa: PTH120
            near = float(library.directions[a] @ library.directions[b]) >= threshold
            if near and (same or across):
                old, new = sorted((group[a], group[b]), reverse=True)
                group = [new if g == old else g for g in group]
    return group


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("block", [3, 256])
def test_near_duplicates_are_those_by_definition(tmp_path, monkeypatch, across, block):
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "WINDOW", 7)
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(12, 5))
    found = centers[generator.integers(0, 12, 60)] + 0.2 * generator.normal(size=(60, 5))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    names = [f"{'ab'[n]}/{k:02d}.jpg" for k, n in enumerate(generator.integers(0, 2, 60))]
    library = library_of(tmp_path, found, names)
    groups = library.duplicates(0.95, across=across)
    assert groups.tolist() == grouped(library, 0.95, across)
    assert 12 < len(set(groups.tolist())) < 60


def test_photos_have_the_time_that_exif_says(open_session, photos, tmp_path):
    session = open_session()
    names = session.library.paths
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2019:07:14 18:30:00"
    exif.get_ifd(0x8769)[0x9011] = "+02:00"
    Image.new("RGB", (8, 8)).save(photos / names[0], "JPEG", exif=exif)
    os.utime(photos / names[1], (1e9, 1e9))
    (photos / names[2]).unlink()
    times = session.library.times
    assert times[0] == datetime(2019, 7, 14, 16, 30, tzinfo=UTC).timestamp()
    assert times[1] == 1e9
    assert np.isnan(times[2])
    assert np.isfinite(np.delete(times, 2)).all()
    # They are kept by content, so that the next start does not open every photo again.
    os.utime(photos / names[1], (2e9, 2e9))
    assert open_session().library.times[1] == 1e9
    (tmp_path / "state/dates.json").write_text('{"a": null}')
    assert open_session().library.times[1] == 2e9
