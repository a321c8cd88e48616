"""A whole released checkpoint, from conversion to ranked images, by the commands."""

import csv
import json

import pytest
import torch
from torch import nn

from adapter.network.config import AdapterConfig
from adapter.network.model import RankingAdapter
from featcache.backbone import BackboneSpec, load_backbone
from featcache.backbone.digest import weights_digest
from featcache.datasets import open_dataset
from featcache.images.preprocess import normalize, read_image

WIDTH = 16
QUERY = "Rank the numbers of horse."
# What the published checkpoints' public model is, in small: a ConvNeXt with timm_proj "mlp".
PUBLIC = {
    "embed_dim": WIDTH,
    "vision_cfg": {
        "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "mlp", "image_size": 64,
    },
    "text_cfg": {
        "context_length": 16, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The released model in small: its parts, its config, its checkpoint in both namings."""
    folder = tmp_path_factory.mktemp("released")
    (folder / "public.json").write_text(json.dumps(PUBLIC))
    public = load_backbone(
        BackboneSpec(
            model_config=str(folder / "public.json"), pretrained="seed:0", projection="none"
        )
    )
    generator = torch.Generator().manual_seed(4)

    def trained(value):
        return value + 0.1 * torch.randn(value.shape, generator=generator)

    # In training: the text tower's weights move, the trunk's do not, a random map follows it.
    model = public.model.state_dict()
    text = {n: trained(v) for n, v in model.items() if not n.startswith("visual.")}
    fc = {
        "visual.trunk.head.fc.weight": torch.randn(
            WIDTH, public.token_dim, 1, 1, generator=generator
        ),
        "visual.trunk.head.fc.bias": torch.randn(WIDTH, generator=generator),
    }
    config = AdapterConfig.released(
        image_dim=WIDTH, text_dim=WIDTH, width=WIDTH, prompt_form="scalar", prompt_tokens=4
    )
    adapter = RankingAdapter(config, seed=5).eval()
    trunk = {n: v for n, v in model.items() if n.startswith("visual.trunk.")}
    state = trunk | fc | text
    state |= {f"adapter.{n}": v for n, v in adapter.state_dict().items()}
    torch.save({"epoch": 40, "state_dict": state}, folder / "plain.pt")
    torch.save({"state_dict": {f"module.{n}": v for n, v in state.items()}}, folder / "module.pt")
    open_dataset("demo", folder / "images", count=12).require()
    return folder, public, text, fc, adapter


@torch.no_grad()
def expected_scores(released):
    """Score the images by the definitions: trunk, norm, 1x1 convolution, text tower, adapter."""
    folder, public, text, fc, adapter = released
    tower = load_backbone(public.spec)
    tower.model.load_state_dict(text, strict=False)
    prompt = tower.encode_prompts([QUERY]).tokens  # [1, T, D]
    convolution = nn.Conv2d(public.token_dim, WIDTH, 1)
    convolution.load_state_dict({n.rpartition(".")[2]: v for n, v in fc.items()})
    found = {}
    for file in sorted((folder / "images").rglob("*.png")):
        image = read_image(file, public.preprocessing)
        pixels = normalize(torch.as_tensor(image.pixels)[None], public.preprocessing)
        locations = public.encode_images(pixels).tokens  # [1, P, W], after head.norm
        side = int(locations.shape[1] ** 0.5)
        grid = locations.mT.unflatten(2, (side, side))  # [1, W, h, w]
        tokens = convolution(grid).flatten(2).mT  # [1, P, C]
        found[file.name] = float(adapter(tokens, prompt))
    return found


def test_from_the_checkpoint_to_ranked_images(released, tmp_path, featcache, adapter):
    folder = released[0]
    run, cache = tmp_path / "run", tmp_path / "cache"
    code, _, message = adapter("convert", folder / "module.pt", "--out", run)
    assert code == 0, message
    assert f"--text-weights {run / 'text_tower.safetensors'}" in message.replace("\n", "")
    public = ["--model-config", folder / "public.json", "--pretrained", "seed:0"]
    tuned = ["--projection", f"checkpoint:{run / 'token_projection.safetensors'}"]
    tuned += ["--text-weights", run / "text_tower.safetensors"]
    images = ["extract", "--dataset", "demo", "--root", folder / "images", "--prompt", QUERY]
    code, _, message = featcache(*images, *public, *tuned, "--out", cache)
    assert code == 0, message

    code, out, message = adapter("rank", run, "--shards", cache, "--query", QUERY)
    assert code == 0, message
    found = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(out.splitlines())}
    expected = expected_scores(released)
    assert found.keys() == expected.keys()
    for name, score in expected.items():
        assert float(found[name]["score"]) == pytest.approx(score, abs=0.01)  # float16 tokens
    assert max(expected.values()) - min(expected.values()) > 0.05
    # Extracting on the way needs no cache: the folder has all but the public model.
    again = ["rank", run, "--images", folder / "images", "--query", QUERY, "--by", "comparison"]
    code, out, message = adapter(*again, *public)
    assert code == 0, message
    assert len(out.splitlines()) == 1 + len(expected)
    code, _, message = adapter(*again)
    assert code == 1
    assert "does not tell which model its backbone is" in message.replace("\n", " ")

    code, out, message = adapter("eval", run, "--shards", cache, "--split", "train,test")
    assert code == 0, message
    assert "SRCC" in out
    evaluation = json.loads((run / "eval.json").read_text())
    assert len(evaluation["queries"]) > 5
    code, _, message = adapter("report", run, "--shards", cache, "--root", folder / "images")
    assert code == 0, message
    code, _, message = adapter("eval", run)
    assert code == 1
    assert "--shards" in message


def test_both_namings_give_the_same_files(released, tmp_path, adapter):
    for form in ("plain", "module"):
        assert adapter("convert", released[0] / f"{form}.pt", "--out", tmp_path / form)[0] == 0
    names = sorted(file.name for file in (tmp_path / "plain").glob("*.safetensors"))
    assert names == [
        "adapter.safetensors",
        "text_tower.safetensors",
        "token_projection.safetensors",
    ]
    for name in names:
        plain, module = (tmp_path / form / name for form in ("plain", "module"))
        assert plain.read_bytes() == module.read_bytes()


def test_other_caches_are_refused_with_what_differs(released, tmp_path, featcache, adapter):
    folder, _, text, _, _ = released
    run, cache = tmp_path / "run", tmp_path / "cache"
    assert adapter("convert", folder / "plain.pt", "--out", run)[0] == 0
    public = ["--model-config", folder / "public.json", "--pretrained", "seed:0"]
    images = ["extract", "--dataset", "demo", "--root", folder / "images", "--limit", 4]
    assert featcache(*images, *public, "--out", cache)[0] == 0
    for command in (
        ["eval", run, "--shards", cache],
        ["rank", run, "--shards", cache, "--query", QUERY],
    ):
        code, out, message = adapter(*command)
        message = " ".join(message.split())
        assert (code, out) == (1, "")
        assert "was not made for this converted adapter" in message
        assert "projection.kind: needs 'checkpoint'" in message
        assert f"text_weights: needs '{weights_digest(text)}'" in message
        assert "has None" in message
