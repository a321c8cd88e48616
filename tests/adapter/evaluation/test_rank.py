"""Ranking images with a run: its backbone found again, in its cache or without it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adapter.errors import CheckpointError
from adapter.evaluation.rank import backbone_of, extract_images, rank_cache
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.record import read_record, write_record
from adapter.run import Run
from adapter.settings import SamplingConfig, TrainConfig
from adapter.training.train import train
from featcache.backbone import BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.errors import FingerprintMismatchError, TooManyFailuresError, WriteError
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.reading.cache import Cache

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
QUERY = "sort images by how bright they are."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, their cache, and a run of two steps on it."""
    folder: Path = tmp_path_factory.mktemp("rank")
    (folder / "ranking-vit.json").write_text(json.dumps(CONFIG))
    spec = BackboneSpec(model_config=str(folder / "ranking-vit.json"), pretrained="seed:0")
    images = open_dataset("demo", folder / "images", count=12)
    images.require()
    backbone = load_backbone(spec)
    extract(images, folder / "cache", backbone, ExtractConfig(workers=1, prompts=(QUERY,)))
    model = AdapterConfig.released(width=16, heads=2, relation_heads=2, blocks=1, post_blocks=0)
    config = TrainConfig(steps=2, device="cpu", sampling=SamplingConfig(batch_size=6))
    train([folder / "cache"], folder / "run", model, LossConfig(), config)
    return folder


def test_a_run_says_how_its_backbone_is_loaded(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "run", tmp_path / "run")
    record = read_record(tmp_path / "run")
    record["shards"][0]["path"] = str(tmp_path / "gone")
    write_record(tmp_path / "run", {k: v for k, v in record.items() if k != "format"})
    run = Run.load(tmp_path / "run")
    assert backbone_of(run).model_config == str(made / "ranking-vit.json")
    assert backbone_of(run, model_config="elsewhere.json", name=None).model_config == (
        "elsewhere.json"
    )
    cache = extract_images(run, made / "images", tmp_path / "cache", (QUERY,))
    by_path = rank_cache(run, cache, QUERY, device="cpu")
    known = rank_cache(Run.load(made / "run"), Cache.open(made / "cache"), QUERY, device="cpu")
    names = [[path.rpartition("/")[2] for path in ranking.paths] for ranking in (by_path, known)]
    assert names[0] == names[1]
    np.testing.assert_allclose(by_path.scores, known.scores, atol=1e-5)
    assert (np.diff(by_path.scores) <= 0).all()


def test_another_backbone_is_refused(made: Path, tmp_path: Path) -> None:
    run = Run.load(made / "run")
    with pytest.raises(
        FingerprintMismatchError, match=r"this backbone hold[\s\S]*backbone\.weights"
    ):
        extract_images(run, made / "images", tmp_path / "cache", (QUERY,), pretrained="seed:1")
    assert not (tmp_path / "cache").exists()


def test_a_run_that_does_not_say_needs_its_cache(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "run", tmp_path / "run")
    record = read_record(tmp_path / "run")
    record["shards"][0]["backbone"] = None
    write_record(tmp_path / "run", {k: v for k, v in record.items() if k != "format"})
    assert backbone_of(Run.load(tmp_path / "run")).pretrained == "seed:0"  # from the cache
    record["shards"][0]["path"] = str(tmp_path / "gone")
    write_record(tmp_path / "run", {k: v for k, v in record.items() if k != "format"})
    with pytest.raises(CheckpointError, match="does not say how its backbone is loaded"):
        backbone_of(Run.load(tmp_path / "run"))


def test_the_share_of_failures_is_a_choice(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "images", tmp_path / "images")
    for n in range(10):
        (tmp_path / "images" / f"bad_{n}.jpg").touch()
    run = Run.load(made / "run")
    with pytest.raises(TooManyFailuresError, match="--max-failures"):
        extract_images(run, tmp_path / "images", tmp_path / "cache", (QUERY,))
    cache = extract_images(run, tmp_path / "images", tmp_path / "cache", (QUERY,), max_failures=0.5)
    assert len(cache) == 12
    assert len(rank_cache(run, cache, QUERY, device="cpu").failed) == 10


def test_a_place_that_cannot_be_written_is_told_first(made: Path, tmp_path: Path) -> None:
    """Before the backbone is loaded: here there is none of that name."""
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="choose another one"):
        extract_images(
            Run.load(made / "run"), made / "images", tmp_path / "file/cache", QUERY, name="none"
        )
