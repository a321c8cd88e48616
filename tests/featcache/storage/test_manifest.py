"""cache.json, and that every difference of two fingerprints is refused by its name."""

import json
import re
from dataclasses import replace

import pytest

from featcache.errors import CacheFormatError, CacheNotFoundError, FingerprintMismatchError
from featcache.maintenance.repair import repair_cache
from featcache.storage.entries import FileEntry, Part
from featcache.storage.fingerprint import Fingerprint, digest, require_same
from featcache.storage.manifest import Manifest


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
    assert again.identity != manifest.identity  # shards do not know it
    again = replace(again, identity=manifest.identity)
    assert again.with_files(manifest.files).to_bytes() == manifest.to_bytes()
    assert again == manifest.unfinished()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"format": "featcache"', b'"format": "elsewhere"', "not a featcache cache"),
        (
            b'"schema_version": 2',
            b'"schema_version": 3',
            "schema version 3, this featcache reads 1 and 2",
        ),
        (b'"complete": true', b'"complete": false', "digest does not match"),
        (b'"complete": true', b'"complete":  true', "not what its own content gives"),
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
    possible = {"views": ["original"], "dtype": "int8"}
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
        "views", "dtype",
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


def test_the_layout_is_no_part_of_the_digest(manifest):
    """Digests of version 1 hold for ever: they were computed with its number."""
    value = manifest.fingerprint.to_dict()
    assert "schema_version" not in value
    assert manifest.fingerprint.digest == digest({**value, "schema_version": 1})


def test_every_cache_has_an_identity_and_a_name(manifest, make_small_cache, tmp_path, cache_copy):
    other = Manifest.read(make_small_cache(tmp_path / "other", name="my ages"))
    assert re.fullmatch("[0-9a-f]{32}", manifest.identity)
    assert manifest.identity not in (other.identity, manifest.dataset["name"])
    assert (manifest.name, other.name) == ("table", "my ages")
    make_small_cache(cache_copy)  # nothing to do
    assert Manifest.read(cache_copy) == manifest
    make_small_cache(cache_copy, name="ages")
    assert Manifest.read(cache_copy) == replace(manifest, name="ages")
    shards = "shards/00000.h5"
    assert (tmp_path / "other" / shards).read_bytes() == (cache_copy / shards).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "F" * 32}, {"identity": 3}, {"name": "a\nb"}, {"name": ["a"]},
        {"schema_version": 3}, {"schema_version": True},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_values_are_refused(manifest, change):
    with pytest.raises(ValueError, match=next(iter(change)).replace("_", " ")):
        replace(manifest, **change)


def test_a_lost_manifest_keeps_identity_and_name(make_small_cache, tmp_path):
    cache = make_small_cache(tmp_path / "cache", name="mine")
    before = Manifest.read(cache)
    (cache / "cache.json").unlink()
    repair_cache(cache)
    assert Manifest.read(cache) == before


def test_where_labels_came_from(manifest, tmp_path):
    ours = {"name": "table", "options": dict(manifest.dataset["options"])}
    other = {"name": "table", "options": {"table": "other.csv"}}
    assert manifest.label_sources() == [ours]
    replaced = manifest.with_labels_of(other, append=False)
    assert replaced.label_sources() == [other]
    assert replaced.dataset["options"] == ours["options"]  # the images are still those
    both = manifest.with_labels_of(other, append=True).with_labels_of(other, append=True)
    assert both.label_sources() == [ours, other]
    assert both.settings() == manifest.settings()  # shards stay the same
    both.write(tmp_path)
    assert Manifest.read(tmp_path).label_sources() == [ours, other]


@pytest.mark.parametrize("labels", [[1], [{"name": 1}], [{"name": "table", "options": 1}]])
def test_impossible_sources_of_labels(manifest, labels):
    with pytest.raises(ValueError, match="labels must come from data sets"):
        replace(manifest, dataset={**manifest.dataset, "labels": labels})


def test_what_is_planned_stands_there_until_it_is_done(manifest, tmp_path):
    unfinished = manifest.unfinished(planned=12)
    unfinished.write(tmp_path)
    assert Manifest.read(tmp_path).planned == 12
    assert unfinished.with_files(manifest.files) == manifest
    assert unfinished.with_shards({}).planned is None
    for planned in (-1, 1.5, True, 1 << 60):
        with pytest.raises(ValueError, match="planned"):
            manifest.unfinished(planned)
    with pytest.raises(ValueError, match="planned"):
        replace(manifest, planned=12)
