"""Each head beside a literal version written with loops, gradients included; and first steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from adapter.methods import get
from adapter.methods.clip_iqa import AntonymScale
from adapter.methods.clip_tuned import mapped
from adapter.methods.loop import batch_of
from adapter.methods.method import unit_rows
from adapter.methods.numclip import LEAST, RATIO
from adapter.methods.numclip_network import NumClipNetwork
from adapter.methods.ordinal_clip import interpolation_weights
from adapter.methods.tmcr_network import TmcrNetwork
from adapter.methods.tuning import random_tokens

B, K, E = 5, 3, 8


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same_with_gradients(ours, literal, inputs: dict[str, torch.Tensor]) -> None:
    """Compare values, and the gradients of a weighted sum of them."""
    found = []
    for function in (ours, literal):
        leaves = [x.detach().clone().requires_grad_() for x in inputs.values()]
        value = function(**dict(zip(inputs, leaves, strict=True)))
        weighted = (value * draw(*value.shape, seed=9)).sum()
        found.append((value.detach(), torch.autograd.grad(weighted, leaves)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-12)
    for name, a, b in zip(inputs, found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def of_parameters(network: torch.nn.Module, call):
    """Return a function of a module's parameters by name, and of ``x``."""

    def run(x, **parameters):
        named = {name.replace("__", "."): value for name, value in parameters.items()}
        return torch.func.functional_call(network, named, (call, x))

    return run


class Calling(torch.nn.Module):
    """Makes methods of a network functions of its parameters."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.net = network

    def forward(self, call, x):
        return call(self.net, x)


def parameters_of(network: torch.nn.Module, seed: int = 3) -> dict[str, torch.Tensor]:
    """Draw parameters, and name them for :func:`of_parameters`."""
    return {
        f"net.{name}".replace(".", "__"): draw(*value.shape, seed=seed + number)
        for number, (name, value) in enumerate(network.named_parameters())
    }


def relu(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0 * x)


def test_numclip_adapter_and_fine_head():
    network = NumClipNetwork(E, K, ratio=RATIO, least=LEAST, seed=0).double()
    prompts, places = normalize(draw(K, E, seed=1), dim=1), torch.tensor([0.0, 2.0, 5.0]).double()
    scale = 3.0

    def call(net, x):
        return net.values(net.logits(x, prompts, scale), places)

    def literal(x, **p):
        values = []
        for b in range(B):
            hidden = relu(p["net__down__weight"] @ x[b])
            mixed = 0.8 * relu(p["net__up__weight"] @ hidden) + 0.2 * x[b]
            length = sum(m * m for m in mixed).sqrt()
            logits = torch.stack([scale * (mixed @ prompts[k]) / length for k in range(K)])
            inner = relu(p["net__inner__weight"] @ logits + p["net__inner__bias"])
            delta = torch.tanh(p["net__outer__weight"] @ inner + p["net__outer__bias"])
            powers = [torch.exp(one) for one in logits]
            shares = [one / sum(powers) for one in powers]
            moved = [places[k] / torch.clamp(1 + delta[k], min=LEAST) for k in range(K)]
            values.append(sum(s * m for s, m in zip(shares, moved, strict=True)))
        return torch.stack(values)

    small = {name: 0.3 * value for name, value in parameters_of(network).items()}
    same_with_gradients(of_parameters(Calling(network), call), literal, {"x": draw(B, E), **small})


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_tmcr_head_and_encoder(pooling, training):
    tags, tokens, levels, width, patches = 4, 6, 5, 3, 7
    network = TmcrNetwork(
        tags=tags, tokens=tokens, levels=levels, width=width, parts="both", pooling=pooling, seed=0
    ).double()
    network.train(training)
    similarities = draw(B, tags, seed=1)

    def call(net, x):
        return net(similarities, x)

    def normed(columns, weight, bias, eps=1e-5):
        """Batch norm over rows; with the statistics of before training, 0 and 1, else."""
        out = []
        for j in range(columns.shape[1]):
            column = columns[:, j]
            mean = sum(column) / len(column) if training else 0.0
            var = sum((c - mean) ** 2 for c in column) / len(column) if training else 1.0
            out.append((column - mean) / (var + eps) ** 0.5 * weight[j] + bias[j])
        return torch.stack(out, dim=1)

    def gelu(x):
        return 0.5 * x * (1 + torch.erf(x / 2**0.5))

    def literal(x, **p):
        encoder = {
            key.removeprefix("net__encoder__"): value
            for key, value in p.items()
            if "encoder" in key
        }
        rows = []
        for b in range(B):
            seen = []
            for t in range(patches):
                mean = x[b, t].mean()
                var = ((x[b, t] - mean) ** 2).mean()
                seen.append(
                    (x[b, t] - mean) / (var + 1e-5).sqrt() * encoder["norm__weight"]
                    + encoder["norm__bias"]
                )
            if pooling == "mean":
                pooled = sum(seen) / patches
            else:
                powers = [torch.exp(one @ encoder["query"]) for one in seen]
                pooled = sum(w / sum(powers) * one for w, one in zip(powers, seen, strict=True))
            hidden = gelu(encoder["first__weight"] @ pooled + encoder["first__bias"])
            rows.append(encoder["second__weight"] @ hidden + encoder["second__bias"])
        branches = []
        for name, given in (("by_tags", similarities), ("by_tokens", torch.stack(rows))):
            linear = torch.stack(
                [p[f"net__{name}__0__weight"] @ row + p[f"net__{name}__0__bias"] for row in given]
            )
            branches.append(
                relu(normed(linear, p[f"net__{name}__1__weight"], p[f"net__{name}__1__bias"]))
            )
        joined = torch.cat(branches, dim=1)
        return torch.stack([p["net__head__weight"] @ row + p["net__head__bias"] for row in joined])

    used = {
        name: value
        for name, value in parameters_of(network).items()
        if "projector" not in name  # which only the contrast reads
    }
    inputs = {"x": draw(B, patches, tokens), **used}
    same_with_gradients(of_parameters(Calling(network), call), literal, inputs)


def test_the_maps_of_the_tuned_clip():
    def literal(x, change):
        rows = []
        for row in x:
            moved = [row[j] + sum(row[i] * change[i, j] for i in range(E)) for j in range(E)]
            length = sum(m * m for m in moved) ** 0.5
            rows.append(torch.stack([m / length for m in moved]))
        return torch.stack(rows)

    inputs = {"x": normalize(draw(B, E), dim=1), "change": 0.3 * draw(E, E, seed=1)}
    same_with_gradients(lambda x, change: mapped(x, change), literal, inputs)


def test_scores_of_several_pairs_are_averaged():
    images, prompts = draw(B, E).numpy(), draw(4, E, seed=1).numpy()
    found = AntonymScale.of(prompts, 7.0, (0.0, 1.0)).scores(images)
    for b in range(B):
        scores = []
        for pair in (prompts[:2], prompts[2:]):
            cosines = [
                float(images[b] @ one) / np.linalg.norm(images[b]) / np.linalg.norm(one)
                for one in pair
            ]
            high, low = (np.exp(7.0 * cosine) for cosine in cosines)
            scores.append(high / (high + low))
        assert found[b] == pytest.approx(sum(scores) / 2, rel=1e-12)


def test_normal_interpolation_written_out():
    found = interpolation_weights(5, 3, "normal")
    for k in range(5):
        powers = [np.exp(-float((k - place) ** 2)) for place in (0, 2, 4)]
        np.testing.assert_allclose(found[k], np.array(powers) / sum(powers), rtol=1e-12)


def first_step(data, seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first batch: positions int64 [b], and unit vectors float64 [b, E]."""
    positions = batch_of(len(data.train.rows), size, 0, seed)
    return positions, unit_rows(data.vectors.of("pooled", data.train.rows[positions]))


def test_clip_iqa_plus_takes_the_step_of_its_equation(make_fold, soft_text):
    data = make_fold(40, scale=(0.0, 20.0))
    found = get("clip-iqa-plus", steps=1, lr=0.5, context=4, batch_size=8).fit(data)
    words = [prompt.rstrip(".") for prompt in data.antonyms]
    template = soft_text.template(2, [f"{word} .." for word in words], 2, stop="")
    # [start] x x an old person .. x x [end]: one token "..", and no full stop behind.
    plain = soft_text.tokenize(["x x an old person .. x x"])[0]
    assert template.ids[0].tolist() == plain.tolist()
    assert int((template.ids[0] != 0).sum()) == 2 + 4 + 4
    context = random_tokens((4, soft_text.width), data.seed, soft_text.device)
    prompts = soft_text.encode_soft(template, context[None].expand(2, -1, -1))
    positions, images = first_step(data, data.seed, 8)
    loss = torch.zeros(())
    for position, image in zip(positions, images, strict=True):
        high, low = (
            soft_text.logit_scale * (prompt @ torch.tensor(image).float()) for prompt in prompts
        )
        score = torch.exp(high) / (torch.exp(high) + torch.exp(low))
        target = data.train.values[position] / 20.0  # by the declared scale
        loss = loss + (score - target) ** 2 / len(positions)
    loss.backward()
    with torch.no_grad():
        moved = context - 0.5 * context.grad  # plain SGD
        expected = soft_text.encode_soft(template, moved[None].expand(2, -1, -1))
    assert float((expected - prompts.detach()).abs().max()) > 1e-6
    np.testing.assert_allclose(found.prompts, expected.numpy(), atol=1e-5)


def test_coop_takes_the_step_of_its_equation(make_fold, soft_text):
    data = make_fold(40)
    found = get("coop", steps=1, lr=0.5, context=3, batch_size=8).fit(data)
    template = soft_text.template(3, data.class_names)
    context = random_tokens((3, soft_text.width), data.seed, soft_text.device)
    prompts = soft_text.encode_soft(template, context[None].expand(4, -1, -1))
    positions, images = first_step(data, data.seed, 8)
    loss = torch.zeros(())
    for position, image in zip(positions, images, strict=True):
        logits = [
            soft_text.logit_scale * (prompt @ torch.tensor(image).float()) for prompt in prompts
        ]
        right = int(data.train.values[position] - 10)
        norm = torch.logsumexp(torch.stack(logits), dim=0)
        loss = loss - (logits[right] - norm) / len(positions)
    loss.backward()
    with torch.no_grad():
        moved = context - 0.5 * (context.grad + 5e-4 * context)  # SGD with its weight decay
        expected = soft_text.encode_soft(template, moved[None].expand(4, -1, -1))
    np.testing.assert_allclose(found.prompts, expected.numpy(), atol=1e-5)
