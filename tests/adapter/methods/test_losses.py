"""Each loss beside a literal version written with loops, gradients included."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from adapter.methods.clip_tuned import caption_loss
from adapter.methods.l2rclip import ordinal_pairwise_loss, stage_one_loss
from adapter.methods.losses import emd, supervised_contrastive, text_image_kl
from adapter.methods.numclip import ranking_calibrated_entropy, text_image_factors
from adapter.methods.tmcr_training import traversal_loss

B, K, E = 6, 4, 5
LABELS = torch.tensor([0, 3, 1, 1, 3, 0])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def same_with_gradients(ours, literal, *inputs: torch.Tensor) -> None:
    found = []
    for loss in (ours, literal):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = loss(*leaves)
        found.append((value.detach(), torch.autograd.grad(value, leaves)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=1e-9)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_supervised_contrastive():
    def literal(a, o):
        total = 0.0
        for i in range(B):
            down = sum(torch.exp(7.0 * a[i] @ o[k]) for k in range(B))
            positives = [j for j in range(B) if LABELS[j] == LABELS[i]]
            logs = [torch.log(torch.exp(7.0 * a[i] @ o[j]) / down) for j in positives]
            total = total - sum(logs) / len(positives)
        return total / B

    same = LABELS[:, None] == LABELS[None]
    same_with_gradients(
        lambda a, o: supervised_contrastive(a, o, same, 7.0),
        literal,
        draw(B, E),
        draw(B, E, seed=1),
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_text_image_divergence(calibrated):
    factors = text_image_factors(K, LABELS).double() if calibrated else None

    def literal(logits):
        total, present = 0.0, 0
        for k in range(K):
            if not (k == LABELS).any():
                continue
            present += 1
            target = [10.0 * float(LABELS[b] == k) for b in range(B)]
            down = sum(math.exp(t) for t in target)
            row = [logits[b, k] * (factors[k, b] if calibrated else 1.0) for b in range(B)]
            norm = torch.log(sum(torch.exp(r) for r in row))
            for b in range(B):
                q = math.exp(target[b]) / down
                total = total + q * (math.log(q) - (row[b] - norm))
        return total / present

    same_with_gradients(
        lambda logits: text_image_kl(logits, LABELS, factors), literal, 3 * draw(B, K)
    )


def test_factors_of_the_divergence_written_out():
    factors = text_image_factors(K, torch.tensor([0, 1, 1]))
    # Class 0: distances 0, 1, 1 sum to 2, times d - 1 = 3; class 2 and 3 are absent.
    expected = [[1, 1.5, 1.5], [3, 1, 1], [1, 1, 1], [1, 1, 1]]
    torch.testing.assert_close(factors, torch.tensor(expected))


def test_ranking_calibrated_entropy():
    def literal(logits):
        total = 0.0
        for i in range(B):
            y = int(LABELS[i])
            gaps = [abs(y - j) for j in range(K)]
            w = [g * (K - 1) / sum(gaps) if j != y else 1.0 for j, g in enumerate(gaps)]
            down = sum(torch.exp(w[j] * logits[i, j]) for j in range(K))
            total = total - torch.log(torch.exp(w[y] * logits[i, y]) / down)
        return total / B

    same_with_gradients(
        lambda logits: ranking_calibrated_entropy(logits, LABELS), literal, 3 * draw(B, K)
    )


def test_stage_one_loss():
    def literal(v, t):
        pairs = [(i, j) for i in range(B) for j in range(i + 1, B)]
        gaps = [abs(int(LABELS[i]) - int(LABELS[j])) for i, j in pairs]
        w = [(g - min(gaps)) / max(gaps) for g in gaps]
        across = sum(x * (v[i] - t[j]).norm() for x, (i, j) in zip(w, pairs, strict=True))
        among = sum(x * (t[i] - t[j]).norm() for x, (i, j) in zip(w, pairs, strict=True) if x)
        tight = sum((v[i] - t[i]).pow(2).sum() for i in range(B)) / B
        return -across / len(pairs) + 0.5 * tight - 0.5 * among / len(pairs)

    same_with_gradients(
        lambda v, t: stage_one_loss(v, t, LABELS), literal, draw(B, E), draw(B, E, seed=1)
    )


def test_ordinal_pairwise_loss():
    def literal(v, t):
        gaps = [[abs(int(LABELS[i]) - k) for k in range(K)] for i in range(B)]
        low, high = min(map(min, gaps)), max(map(max, gaps))
        spread = sum(
            (gaps[i][k] - low) / high * (v[i] - t[k]).norm() for i in range(B) for k in range(K)
        )
        tight = sum((v[i] - t[LABELS[i]]).pow(2).sum() for i in range(B)) / B
        return tight - spread / (B * K)

    same_with_gradients(
        lambda v, t: ordinal_pairwise_loss(v, t, LABELS), literal, draw(B, E), draw(K, E, seed=1)
    )


def test_caption_loss_with_its_counterfactual():
    others = torch.tensor([0, 1, 2, 0, 2, 1])
    scale = torch.tensor(5.0, dtype=torch.float64)

    def literal(v, t):
        entropy = contrast = counter = 0.0
        for i in range(B):
            y = int(LABELS[i])
            row = [scale * v[i] @ t[k] for k in range(K)]
            entropy = entropy - torch.log(torch.exp(row[y]) / sum(torch.exp(r) for r in row))
            down = sum(torch.exp(scale * t[y] @ v[j]) for j in range(B))
            equal = [j for j in range(B) if LABELS[j] == LABELS[i]]
            logs = [torch.log(torch.exp(scale * t[y] @ v[j]) / down) for j in equal]
            contrast = contrast - sum(logs) / len(equal)
            false = [k for k in range(K) if k != y][int(others[i])]
            up = torch.exp(row[y])
            counter = counter - torch.log(up / (up + torch.exp(row[false])))
        return (entropy + contrast + 0.5 * counter) / B

    same_with_gradients(
        lambda v, t: caption_loss(v, t, LABELS, others, scale, 0.5),
        literal,
        draw(B, E),
        draw(K, E, seed=1),
    )


def test_earth_movers_distance():
    p, q = (torch.softmax(3 * draw(3, K, seed=s), dim=1) for s in (0, 1))

    def literal(p):
        total = 0.0
        for b in range(3):
            gaps = [sum(p[b, : k + 1]) - sum(q[b, : k + 1]) for k in range(K)]
            total = total + torch.sqrt(sum(g**2 for g in gaps) / K)
        return total / 3

    same_with_gradients(lambda p: emd(p, q), literal, p)
    one = torch.eye(4, dtype=torch.float64)
    # All mass three levels away: the cumulated shares differ by 1 at three of four levels.
    assert float(emd(one[:1], one[3:], power=1)) == pytest.approx(0.75)


def literal_traversal(bins, t, printed):
    total = 0.0
    for ordered in (bins, bins[::-1]):
        n = len(ordered)
        for a in range(n - 1):
            for p in range(a, n - 1):
                negatives = [z for level in ordered[p + 1 :] for z in level]
                if printed:
                    terms = []
                    for i, x in enumerate(ordered[a]):
                        for j, y in enumerate(ordered[p]):
                            if a == p and i == j:
                                continue
                            up = torch.exp(x @ y / t)
                            down = up + sum(torch.exp(x @ z / t) for z in negatives)
                            terms.append(-torch.log(up / down))
                    total = total + (sum(terms) / len(terms) if terms else 0.0)
                    continue
                s = [(z, 1) for z in ordered[a]] + [(z, 1) for z in ordered[p]]
                s += [(z, 2) for z in negatives]
                means = []
                for i, (x, kind) in enumerate(s):
                    down = sum(torch.exp(x @ z / t) for k, (z, _) in enumerate(s) if k != i)
                    mates = [z for j, (z, other) in enumerate(s) if j != i and other == kind]
                    if mates:
                        logs = [torch.log(torch.exp(x @ z / t) / down) for z in mates]
                        means.append(-sum(logs) / len(mates))
                total = total + sum(means) / len(means)
    return total


@pytest.mark.parametrize("printed", [False, True])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 1, 2, 2), (1, 1)])
def test_traversal_loss(printed, sizes):
    z = draw(sum(sizes), E)
    same_with_gradients(
        lambda z: traversal_loss(z.split(sizes), 0.5, printed=printed),
        lambda z: literal_traversal(list(z.split(sizes)), 0.5, printed) + 0 * z.sum(),
        z,
    )


@pytest.mark.parametrize("labels", [[2] * B, [0] * B, [0, 0, 0, 0, 0, 3]])
def test_degenerate_batches_give_finite_losses_and_gradients(labels):
    labels = torch.tensor(labels)
    v, t = draw(B, E).requires_grad_(), draw(K, E, seed=1).requires_grad_()
    logits = 10 * v @ t.T
    same = labels[:, None] == labels[None]
    losses = [
        stage_one_loss(v, t[labels], labels),
        ordinal_pairwise_loss(v, t, labels),
        supervised_contrastive(v, t[labels], same, 10.0),
        text_image_kl(logits, labels),
        text_image_kl(logits, labels, text_image_factors(K, labels).double()),
        ranking_calibrated_entropy(logits, labels),
    ]
    for loss in losses:
        assert torch.isfinite(loss)
        for gradient in torch.autograd.grad(loss, [v, t], retain_graph=True, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


def test_one_image_is_a_batch():
    v, t = draw(1, E), draw(K, E, seed=1)
    labels = torch.tensor([1])
    assert torch.isfinite(stage_one_loss(v, t[labels], labels))
    assert torch.isfinite(text_image_kl(v @ t.T, labels))
