import json

import pytest
import torch
from safetensors.torch import load_file

from featcache.backbone import BackboneSpec, load_backbone
from featcache.backbone.embedded import NAME
from featcache.backbone.embedded.card import training_of
from featcache.backbone.embedded.student import Student
from featcache.backbone.embedded.train import LOG, STATE, TrainConfig, train, write_weights
from featcache.datasets.scenes.seeds import CLIP_TRAINING

CONFIG = TrainConfig(seed=CLIP_TRAINING[3], steps=4, decay=2, warmup=2, batch=6, chunk=12)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    lines = []
    student, done = train(folder, CONFIG, log_every=2, checkpoint_every=2, progress=lines.append)
    return folder, student, done, lines


def test_the_rate_rises_stays_and_falls():
    config = TrainConfig(steps=100, decay=20, warmup=10, lr=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == [1.0] * 72
    assert rates[90] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.05)


def test_it_logs_what_it_did(trained):
    folder, _, done, lines = trained
    assert [line["step"] for line in lines] == [2, 4]
    assert lines == [json.loads(text) for text in (folder / LOG).read_text().splitlines()]
    assert done["last"] == lines[-1]
    assert done["images"] == 4 * 6
    assert {"contrastive", "matching", "ordering", "counting", "light"} < set(lines[0])


def test_weights_move_but_not_those_of_unknown_words(trained):
    _, student, _, _ = trained
    fresh = Student(CONFIG.seed)
    weight = student.clip.text.token_embedding.weight
    photo, zebra = student.tokenizer(["photo", "zebra"])[:, 1].tolist()
    assert weight[photo].abs().max() > 0
    assert weight[zebra].abs().max() == 0
    assert not torch.equal(student.clip.visual.conv1.weight, fresh.clip.visual.conv1.weight)


def test_a_stopped_training_ends_at_the_same_weights(trained, tmp_path):
    folder, student, _, _ = trained
    (tmp_path / "pool").symlink_to(folder / "pool")

    class StopError(Exception):
        pass

    def stop(line):
        if line["step"] == 3:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path, CONFIG, log_every=1, checkpoint_every=2, progress=stop)
    assert (tmp_path / STATE).exists()
    again, done = train(tmp_path, CONFIG, log_every=1, checkpoint_every=2)
    assert done["step"] == 4
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_weights_load_through_openclip(trained, tmp_path):
    _, student, _, _ = trained
    path = tmp_path / f"{NAME}.safetensors"
    write_weights(path, student, {"hours": 1.5})
    assert training_of(path) == {"hours": 1.5}
    assert path.stat().st_size < 12_000_000
    assert {t.dtype for t in load_file(path).values()} == {torch.float16, torch.int64}
    backbone = load_backbone(BackboneSpec(name=NAME, pretrained=str(path)))
    assert (backbone.num_tokens, backbone.token_dim, backbone.pooled_dim) == (16, 256, 256)
    tokens = backbone.encode_prompts(["sort images by the number of objects in red."]).tokens
    assert tokens.shape == (1, 40, 64)


def test_texts_without_padding_are_encoded_as_with_it():
    student = Student(1).eval()
    torch.nn.init.normal_(student.clip.text.token_embedding.weight, std=0.1)
    texts = ["a photo of three red cubes and a ball.", "dark photo.", "no cubes.", "12 objects."]
    ids = student.tokenizer(texts)
    with torch.no_grad():
        apart, together = student._encode_texts(ids), student.clip.encode_text(ids)
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=1e-4)
