"""cache.json, and that every difference of two fingerprints is refused by its name."""

import json
import re
from dataclasses import replace

import pytest

from featcache.errors import CacheFormatError, CacheNotFoundError, FingerprintMismatchError
from featcache.storage.fingerprint import Fingerprint, require_same
from featcache.storage.manifest import FileEntry, Manifest, Part


@pytest.fixture
def manifest(small_cache):
    return Manifest.read(small_cache)


def test_round_trip(manifest, small_cache, tmp_path):
    assert manifest.to_bytes() == (small_cache / "cache.json").read_bytes()
    part = replace(manifest, part=Part(index=2, count=4, images=99)).with_files(manifest.files)
    part.write(tmp_path)
    assert Manifest.read(tmp_path) == part
    assert not part.complete
    assert [n for n in range(10) if part.part.has(n)] == [1, 5, 9]


def test_settings_rebuild_the_document(manifest):
    again = Manifest.from_settings(json.loads(json.dumps(manifest.settings(), sort_keys=True)))
    assert again.with_files(manifest.files).to_bytes() == manifest.to_bytes()
    assert again == manifest.unfinished()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"format": "featcache"', b'"format": "elsewhere"', "not a featcache cache"),
        (
            b'"schema_version": 1',
            b'"schema_version": 2',
            "schema version 2, this featcache reads 1",
        ),
        (b'"complete": true', b'"complete": false', "digest does not match"),
        (b'"complete": true', b'"complete":  true', "digest does not match"),
        (b"{", b"[", "damaged"),
    ],
)
def test_damage_is_refused(cache_copy, old, new, reason):
    file = cache_copy / "cache.json"
    file.write_bytes(file.read_bytes().replace(old, new, 1))
    with pytest.raises(CacheFormatError, match=reason):
        Manifest.read(cache_copy)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("/etc/passwd", FileEntry(bytes=1, xxh3_128="0")),
        ("../labels.parquet", FileEntry(bytes=1, xxh3_128="0")),
        ("shards/../../x.h5", FileEntry(bytes=1, xxh3_128="0", rows=1)),
        ("shards/00001.h5", FileEntry(bytes=1, xxh3_128="0")),
        ("labels.parquet", FileEntry(bytes=1, xxh3_128="0", rows=3)),
        ("shards/00001.h5", FileEntry(bytes=-1, xxh3_128="0", rows=3)),
    ],
)
def test_impossible_files_are_refused(manifest, tmp_path, name, entry):
    manifest.with_files({name: entry}).write(tmp_path)
    with pytest.raises(CacheFormatError, match=r"not a file of a cache|impossible entry"):
        Manifest.read(tmp_path)


def test_require_complete(manifest, tmp_path):
    manifest.require_complete(tmp_path)
    with pytest.raises(CacheNotFoundError, match="has not finished"):
        manifest.unfinished().require_complete(tmp_path)


def fields(fingerprint):
    """Every value that determines features, by its dotted name."""

    def walk(value, name):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, f"{name}.{key}" if name else key)
        else:
            yield name, value

    return dict(walk(fingerprint.to_dict(), ""))


def changed(fingerprint, name):
    """Return the fingerprint with one value changed."""
    value = json.loads(json.dumps(fingerprint.to_dict()))
    *path, last = name.split(".")
    place = value
    for key in path:
        place = place[key]
    possible = {"views": ["original"], "dtype": "int8", "schema_version": 2}
    place[last] = possible.get(name, f"other {place[last]}")
    return Fingerprint.from_dict(value)


def test_each_difference_is_refused_by_name(manifest):
    fingerprint = manifest.fingerprint
    names = fields(fingerprint)
    expected = {
        "backbone.architecture", "backbone.weights", "backbone.projection.kind",
        "backbone.token_pool",
        "preprocessing.size", "preprocessing.mean", "preprocessing.std", "preprocessing.resize",
        "preprocessing.interpolation", "preprocessing.orientation", "preprocessing.truncated",
        "views", "dtype", "schema_version",
    }  # fmt: skip
    assert expected <= names.keys()
    for name in names:
        other = changed(fingerprint, name)
        assert other.digest != fingerprint.digest
        with pytest.raises(FingerprintMismatchError) as caught:
            require_same(fingerprint, other, "one", "two")
        lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
        assert len(lines) == 1
        assert re.match(rf"  {re.escape(name)}: ", lines[0])
        require_same(fingerprint, other, "one", "two", ignore=[name])
    require_same(fingerprint, fingerprint, "one", "two")
