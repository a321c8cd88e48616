import pytest
import torch

from featcache.errors import BackboneError

PROMPTS = ["a photo of a cat.", "sort images by the number of red objects."]


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-vit-avg"])
def test_tokens_and_pooled(name, tiny):
    backbone = tiny(name)
    tokens, pooled = backbone.encode_prompts(PROMPTS)
    assert tokens.shape == (2, backbone.context_length, backbone.text_dim) == (2, 16, 32)
    assert tokens.dtype == pooled.dtype == torch.float32
    reference = backbone.model.encode_text(backbone._text.tokenize(PROMPTS))
    assert float((pooled - reference).abs().max() / reference.abs().max()) < 1e-5
    assert (tokens[0] - tokens[1]).abs().max() > 1e-3


def test_tokens_are_normalized_and_not_yet_projected(tiny):
    """The pooled embedding is the end-of-text token through the text projection."""
    backbone = tiny("tiny-vit")
    tokens, pooled = backbone.encode_prompts(PROMPTS)
    end = backbone._text.tokenize(PROMPTS).argmax(-1)
    projected = tokens[torch.arange(2), end] @ backbone.model.text_projection
    torch.testing.assert_close(pooled, projected)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)


def test_prompts_are_batched_and_none_are_allowed(tiny):
    backbone = tiny("tiny-vit")
    prompts = [f"{i} cats" for i in range(70)]
    tokens, pooled = backbone.encode_prompts(prompts)
    assert tokens.shape == (70, 16, 32)
    torch.testing.assert_close(pooled[69:], backbone.encode_prompts(prompts[69:]).pooled)
    empty = backbone.encode_prompts([])
    assert (empty.tokens.shape, empty.pooled.shape) == ((0, 16, 32), (0, 24))


def test_a_prompt_that_does_not_fit_is_refused(tiny):
    backbone = tiny("tiny-vit")
    assert backbone.encode_prompts(["cat " * 14]).tokens.shape[0] == 1
    with pytest.raises(BackboneError, match="17 tokens and the text tower reads 16"):
        backbone.encode_prompts(["dog", "cat " * 15])


@pytest.mark.parametrize("ending", [None, 9], ids=["no end of text", "end of text"])
def test_tokenizers_of_other_libraries_cut_nothing_off(tiny, monkeypatch, ending):
    def tokenizer(texts, context_length):
        """Cut off in silence, as those of transformers do; words are tokens, 1 is padding."""
        room = context_length - (ending is not None)
        words = [[2 + len(word) for word in text.split()][:room] for text in texts]
        ids = [row + ([] if ending is None else [ending]) for row in words]
        return torch.tensor([row + [1] * (context_length - len(row)) for row in ids])

    text = tiny("tiny-vit")._text
    monkeypatch.setattr(text, "_tokenizer", tokenizer)
    most = 16 - (ending is not None)
    assert text.tokenize(["cat " * most, "", "dog"]).shape == (3, 16)
    with pytest.raises(BackboneError, match="more than 16 tokens and the text tower reads 16"):
        text.tokenize(["dog", "cat " * (most + 1)])


def test_text_towers_of_other_libraries_are_refused(tiny):
    from featcache.backbone.text import TextTower

    model = torch.nn.Module()
    model.text = torch.nn.Linear(2, 2)
    with pytest.raises(BackboneError, match="text towers of type Linear"):
        TextTower(model, tiny("tiny-vit").spec)
