"""Ranking head: linear-cost form against the concatenated form, forward and backward.

    python benchmarks/ranking_head.py                       # B=64, P=100, D=768
    python benchmarks/ranking_head.py --batch 32 --patches 196
    python benchmarks/ranking_head.py --device cuda

Both start from the encoder's tokens z' [B, P, D] and end at gradients of the pair logits' sum.
The concatenated form is the one of the paper's text and of the released code: keys of both
images side by side for every ordered pair, B² tensors of 2 P tokens. It takes ordered pairs in
chunks (``--pairs-per-chunk``) so that large batches fit: each chunk runs forward and backward on
its own, which costs no extra arithmetic and only lowers the peak. Its memory is therefore given
twice: measured with chunks, and scaled to all B² pairs at once, which is how the released code
holds them.

Three rows: attention with its output map, the whole head with its pair MLP (bce over all
pairs), and the whole head with ordered pairs only (hinge), each against the concatenated form.
Times are medians; peak memory is what the pass allocates beyond weights and inputs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import figures
import torch
from torch.profiler import ProfilerActivity, profile

from adapter import AdapterConfig, RankingAdapter
from adapter.network.losses import ordered_pairs
from adapter.network.ranking import RelationalAttention

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from adapter.network.ranking import PairSummary


def project(
    relation: RelationalAttention, tokens: Tensor, queries: Tensor
) -> tuple[Tensor, Tensor]:
    """Map queries [M, D] and tokens [B, P, D], as both forms do."""
    if relation.projected:
        queries = relation.ln_q(relation.q_proj(queries))
        tokens = relation.ln_kv(relation.kv_proj(tokens))
    return queries, tokens


def concatenated_pairs(
    relation: RelationalAttention, queries: Tensor, tokens: Tensor, first: Tensor, second: Tensor
) -> Tensor:
    """Attend over both images' tokens at once, for chosen pairs.

    Args:
        relation: Supplies heads, pooling and output map; ``relational`` only.
        queries: [M, D], mapped.
        tokens: [B, P, D], mapped.
        first: int64 [K], positions of the first images.
        second: int64 [K], positions of the second images.

    Returns:
        [K, D], after the output map and the pooling over relational tokens.
    """
    heads, patches = relation.heads, tokens.shape[1]
    q = queries.view(len(queries), heads, -1).transpose(0, 1)  # [H, M, D / H]
    pair = torch.cat([tokens[first], tokens[second]], dim=1)  # [K, 2 P, D]
    keys = pair.view(len(pair), 2 * patches, heads, -1).transpose(1, 2)  # [K, H, 2 P, D / H]
    scale = q.shape[-1] ** -0.5
    attention = torch.softmax(q @ keys.transpose(-1, -2) * scale, dim=-1)  # [K, H, M, 2 P]
    part_i = attention[..., :patches] @ keys[:, :, :patches]  # [K, H, M, D / H]
    part_j = attention[..., patches:] @ keys[:, :, patches:]
    merged = (part_i - part_j).transpose(1, 2).flatten(2)  # [K, M, D]
    mapped: Tensor = relation.out_proj(merged) if relation.projected else merged
    return mapped.sum(1) if relation.pool == "sum" else mapped.mean(1)


def main() -> None:
    args = parse()
    device = torch.device(args.device)
    torch.manual_seed(0)
    config = AdapterConfig.released(
        image_dim=args.width, text_dim=args.width, width=args.width, blocks=0, post_blocks=0
    )
    adapter = RankingAdapter(config).to(device)
    relation = adapter.reg_token_pooler
    assert isinstance(relation, RelationalAttention)
    tokens = torch.randn(args.batch, args.patches, args.width, device=device)
    targets = torch.randn(args.batch, device=device)
    pairs = args.batch**2
    everyone = torch.arange(pairs, device=device)
    first, second = everyone // args.batch, everyone % args.batch

    def summary(x: Tensor) -> PairSummary:
        return relation.summarize(x, adapter.reg_tokens)

    def linear_attention(x: Tensor) -> None:
        s = summary(x)
        torch.autograd.backward(relation.project(relation.combine(s, s)).sum())

    def linear_head(x: Tensor) -> None:
        s = summary(x)
        torch.autograd.backward(adapter.compare_summaries(s, s).sum())

    def linear_ordered(x: Tensor) -> None:
        chosen = ordered_pairs(targets)
        torch.autograd.backward(
            adapter.ordered_pair_logits(summary(x), chosen.first, chosen.second).sum()
        )

    def concatenated(*, head: bool) -> Callable[[Tensor], None]:
        def step(x: Tensor) -> None:
            mapped = project(relation, x, adapter.reg_tokens)
            leaves = [t.detach().requires_grad_() for t in mapped]
            for at in range(0, pairs, args.pairs_per_chunk):
                chunk = slice(at, at + args.pairs_per_chunk)
                out = concatenated_pairs(
                    relation, leaves[0], leaves[1], first[chunk], second[chunk]
                )
                torch.autograd.backward((adapter.pair_regressor(out) if head else out).sum())
            torch.autograd.backward(mapped, [leaf.grad for leaf in leaves])

        return step

    check(adapter, relation, tokens)
    chunks = -(-pairs // args.pairs_per_chunk)
    about = (
        f"B={args.batch} P={args.patches} D={args.width}, {args.device}, "
        f"{torch.get_num_threads()} threads, concatenated in {chunks} chunk(s)"
    )
    baselines = {}
    for head in (False, True):
        baselines[head] = measure(concatenated(head=head), adapter, tokens, args.naive_repeats)
    forms = [
        ("attention, linear", linear_attention, False),
        ("attention + pair MLP, linear (bce)", linear_head, True),
        ("attention + pair MLP, ordered pairs (hinge)", linear_ordered, True),
    ]
    rows = []
    for head, name in ((False, "attention, concatenated"), (True, "attention + pair MLP, conc.")):
        seconds, peak = baselines[head]
        rows.append({"case": f"{name}, {about}", "ms": seconds * 1e3, "mib": peak / 2**20})
    for name, step, head in forms:
        seconds, peak = measure(step, adapter, tokens, args.repeats)
        base_seconds, base_peak = baselines[head]
        rows.append(
            {
                "case": f"{name}, {about}",
                "ms": seconds * 1e3,
                "mib": peak / 2**20,
                "faster": base_seconds / seconds,
                "smaller": base_peak / peak,
                "smaller_at_once": base_peak * chunks / peak,
            }
        )
    columns = [
        ("case", "ranking head", ""),
        ("ms", "time, ms", ".1f"),
        ("mib", "peak, MiB", ".0f"),
        ("faster", "time ratio", ".1f"),
        ("smaller", "peak ratio", ".1f"),
        ("smaller_at_once", "peak ratio, all pairs at once", ".0f"),
    ]
    figures.show({"columns": columns, "rows": rows}, args.json, "torch")


def check(adapter: RankingAdapter, relation: RelationalAttention, tokens: Tensor) -> None:
    """Refuse to time two forms that differ."""
    with torch.no_grad():
        summary = relation.summarize(tokens[:4], adapter.reg_tokens)
        linear = relation.project(relation.combine(summary, summary)).flatten(0, 1)
        some = torch.arange(16, device=tokens.device)
        mapped = project(relation, tokens, adapter.reg_tokens)
        naive = concatenated_pairs(relation, *mapped, some // 4, some % 4)
        torch.testing.assert_close(linear, naive, rtol=1e-4, atol=1e-4)


def measure(
    step: Callable[[Tensor], None], adapter: RankingAdapter, tokens: Tensor, repeats: int
) -> tuple[float, float]:
    """Time a pass (median, seconds) and find its peak of allocated memory (bytes)."""
    cuda = tokens.device.type == "cuda"

    def once() -> None:
        adapter.zero_grad(set_to_none=True)
        step(tokens.detach().requires_grad_())
        if cuda:
            torch.cuda.synchronize()

    if cuda:
        once()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once()
        peak = float(torch.cuda.max_memory_allocated() - before)
    else:
        peak = peak_on_cpu(once)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return statistics.median(times), peak


def peak_on_cpu(once: Callable[[], None]) -> float:
    """Follow every allocation and release of a pass, in order, and return the peak in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        once()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return float(peak)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--pairs-per-chunk", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--naive-repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
