import json
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from featcache.backbone import BackboneSpec, load_backbone
from featcache.errors import BackboneError

NAME = "tiny-vit"
LOCAL = r"--pretrained /path/to/open_clip_model.safetensors"


@pytest.fixture
def weights(tiny):
    """The state dict of a tiny model, as a checkpoint would hold it."""
    return {k: v.clone() for k, v in tiny(NAME).model.state_dict().items()}


def load(config_file, pretrained, name=NAME):
    return load_backbone(BackboneSpec(model_config=config_file(name), pretrained=str(pretrained)))


# --- local checkpoints ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["safetensors", "pt", "nested", "module"])
def test_a_local_checkpoint_gives_the_same_backbone(form, tiny, weights, config_file, tmp_path):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(weights, path)
    elif form == "pt":
        torch.save(weights, path)
    elif form == "nested":
        torch.save({"epoch": 1, "state_dict": weights}, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, path)
    loaded, original = load(config_file, path), tiny(NAME)
    assert loaded.identity == original.identity  # where the weights come from is not identity
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.encode_images(x).tokens, original.encode_images(x).tokens)


def test_float16_files_are_held_in_float32(tiny, weights, config_file, tmp_path):
    save_file({k: v.half() for k, v in weights.items()}, tmp_path / "half.safetensors")
    save_file({k: v.half().float() for k, v in weights.items()}, tmp_path / "full.safetensors")
    half, full = (load(config_file, tmp_path / f"{n}.safetensors") for n in ("half", "full"))
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert half.identity == full.identity
    assert half.identity["weights"] != tiny(NAME).identity["weights"]


def test_missing_unexpected_and_misshapen_weights_are_listed(weights, config_file, tmp_path):
    missing = {k: v for k, v in weights.items() if k not in ("visual.proj", "ln_final.bias")}
    extra = {**weights, "visual.head.fc.weight": torch.ones(3)}
    shape = {**weights, "visual.proj": torch.ones(32, 25)}
    cases = {
        "missing": (missing, r"tiny-vit: 2 missing \(visual.proj, ln_final.bias\)$"),
        "extra": (extra, r"1 unexpected \(visual.head.fc.weight\)$"),
        "shape": (shape, r"1 of another shape \(visual.proj \[32, 25\] instead of \[32, 24\]\)$"),
    }
    for name, (state, message) in cases.items():
        save_file(state, tmp_path / f"{name}.safetensors")
        with pytest.raises(BackboneError, match=message):
            load(config_file, tmp_path / f"{name}.safetensors")


def test_a_checkpoint_of_another_architecture_is_one_short_line(config_file, tmp_path, tiny):
    save_file(tiny("tiny-convnext-mlp").model.state_dict(), tmp_path / "c.safetensors")
    with pytest.raises(BackboneError, match=r"missing \(.*, \.\.\.\); \d+ unexpected") as caught:
        load(config_file, tmp_path / "c.safetensors")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["junk.safetensors", "junk.pt"])
def test_a_file_of_something_else_is_refused(name, config_file, tmp_path):
    (tmp_path / name).write_bytes(b"junk" * 10)
    with pytest.raises(BackboneError, match="cannot be read as weights"):
        load(config_file, tmp_path / name)


def test_code_in_a_pickle_is_not_run(config_file, tmp_path, capfd):
    class Attack:
        def __reduce__(self):
            return print, ("owned",)

    torch.save({"state_dict": Attack()}, tmp_path / "bad.pt")
    with pytest.raises(BackboneError, match="cannot be read as weights"):
        load(config_file, tmp_path / "bad.pt")
    assert "owned" not in capfd.readouterr().out


def test_paths_that_do_not_exist_or_have_an_odd_suffix(config_file, tmp_path):
    with pytest.raises(BackboneError, match=f"does not exist; .*{LOCAL}"):
        load(config_file, tmp_path / "none.safetensors")
    with pytest.raises(BackboneError, match=f"does not exist; .*{LOCAL}"):
        load(config_file, "weights.pt")
    (tmp_path / "w.txt").write_text("hello")
    with pytest.raises(BackboneError, match=r"expected a file ending in \.safetensors"):
        load(config_file, tmp_path / "w.txt")


# --- names and tags ------------------------------------------------------------------------------


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(BackboneError, match=r"'ViT-B-23'; close: .*ViT-B-32"):
        load_backbone(BackboneSpec(name="ViT-B-23", pretrained="openai"))


def test_an_unknown_tag_lists_those_there_are():
    with pytest.raises(BackboneError, match=rf"'laion2b_s29b'; close: .*_ft_soup.*{LOCAL}"):
        load_backbone(BackboneSpec(name="convnext_large_d_320", pretrained="laion2b_s29b"))


def test_another_activation_is_an_error_not_a_warning(monkeypatch):
    import open_clip.factory

    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: "/none")
    with pytest.raises(BackboneError, match="try --backbone ViT-B-32-quickgelu"):
        load_backbone(BackboneSpec(name="ViT-B-32", pretrained="openai"))


# --- without a network ---------------------------------------------------------------------------


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """No network and nothing cached; the hub's own client is the real one."""
    monkeypatch.setattr("featcache.backbone.loading._hub_answers", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "spec", [BackboneSpec(), BackboneSpec(name="hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K")]
)
def test_without_a_hub_one_sentence_says_how_to_go_on(spec, capfd):
    offline = constants.HF_HUB_OFFLINE
    with pytest.raises(BackboneError, match=f"could not be fetched .*{LOCAL}") as caught:
        load_backbone(spec)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 350
    assert capfd.readouterr() == ("", "")
    assert offline == constants.HF_HUB_OFFLINE


def test_whether_a_hub_answers_is_a_connection(monkeypatch):
    from featcache.backbone.loading import _hub_answers

    monkeypatch.setattr("urllib.request.getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert _hub_answers()
    assert not _hub_answers()
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy"})
    assert _hub_answers()


def test_a_model_without_weights_is_not_left_random(tmp_path, config_file):
    config = json.loads(Path(config_file(NAME)).read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(BackboneError, match="could not be fetched"):
        load_backbone(BackboneSpec(name=f"local-dir:{tmp_path}"))


def test_a_local_folder_brings_config_weights_and_preprocessing(
    weights, tiny, tmp_path, config_file
):
    config = json.loads(Path(config_file(NAME)).read_text())
    content = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    backbone = load_backbone(BackboneSpec(name=f"local-dir:{tmp_path}"))
    assert backbone.identity["weights"] == tiny(NAME).identity["weights"]
    assert backbone.identity["config"] == config
    assert backbone.preprocessing.mean == (0.5,) * 3
    assert backbone.preprocessing.std == (0.25,) * 3
    torch.testing.assert_close(
        backbone.encode_prompts(["a cat"]).tokens, tiny(NAME).encode_prompts(["a cat"]).tokens
    )


# --- seeds ---------------------------------------------------------------------------------------


def test_a_seed_is_exact_and_leaves_the_global_state(tiny, config_file):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    again = load(config_file, "seed:0")
    assert torch.equal(torch.rand(3), expected)
    assert again.identity == tiny(NAME).identity
    assert load(config_file, "seed:1").identity["weights"] != again.identity["weights"]


# --- configs -------------------------------------------------------------------------------------


def test_a_config_can_be_given_another_name(tmp_path, config_file, tiny):
    spec = BackboneSpec(model_config=config_file(NAME), name="renamed-vit", pretrained="seed:0")
    assert load_backbone(spec).identity["weights"] == tiny(NAME).identity["weights"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "lacks"), ('{"embed_dim": 3}', "lacks vision_cfg, text_cfg")],
)
def test_a_bad_config_is_refused(content, message, tmp_path):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneSpec(model_config=str(tmp_path / "bad.json"), pretrained="seed:0"))


def test_a_config_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="No such file"):
        load_backbone(BackboneSpec(model_config=str(tmp_path / "no.json"), pretrained="seed:0"))


def test_a_config_may_not_take_the_name_of_another(tmp_path, config_file):
    (tmp_path / "ViT-B-32.json").write_text(Path(config_file(NAME)).read_text())
    with pytest.raises(BackboneError, match="already belongs to another"):
        load_backbone(
            BackboneSpec(model_config=str(tmp_path / "ViT-B-32.json"), pretrained="seed:0")
        )


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("vision_cfg", {"color": 1}, "cannot be built: .*color"),
        ("vision_cfg", {"head_width": 64}, "cannot be built"),
        ("vision_cfg", {"timm_model_name": "no_such_model"}, "cannot be built: .*no_such_model"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "text tower is roberta-base"),
    ],
)
def test_an_architecture_that_cannot_be_built_says_why(
    part, change, message, tmp_path, config_file
):
    config = json.loads(Path(config_file(NAME)).read_text())
    config[part].update(change)
    path = tmp_path / f"bad-{next(iter(change))}.json"
    path.write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneSpec(model_config=str(path), pretrained="seed:0"))


# --- quietness -----------------------------------------------------------------------------------


def test_loading_prints_nothing_and_leaves_logging_alone(config_file):
    script = """
import logging, sys
from featcache.backbone import BackboneSpec, load_backbone
load_backbone(BackboneSpec(model_config=sys.argv[1], pretrained="seed:0"))
assert not logging.getLogger().handlers and not logging.getLogger().filters
"""
    run = subprocess.run(
        [sys.executable, "-c", script, config_file(NAME)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_messages_of_others_are_not_dropped_afterwards(caplog, config_file):
    load(config_file, "seed:0")
    with caplog.at_level(logging.INFO):
        logging.getLogger().info("still heard")
    assert "still heard" in caplog.text
