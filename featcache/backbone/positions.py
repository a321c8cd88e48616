"""Image towers without their positional embeddings, or with interpolated ones, for any image size.

A CLIP tower adds a table of positions that fits images of one size. CLIP-IQA (Wang, Chan & Loy,
"Exploring CLIP for assessing the look and feel of images", AAAI 2023, section 3.1) leaves the
table out, so that images of any size and shape pass: ``none``. Its Table 2 compares that with
``interpolated``: the table [n, W] is stretched to the number of tokens as the authors' code does
it, by bicubic interpolation *along the list of tokens*, class token or mean included, and not over
the two axes of the image; so at the trained size it is the table itself.

What is written here, beside leaving positions out, is what large images need:

- the attention pool of a ResNet asks only for the mean token's output (the released pools of CLIP
  compute all and keep that one), so that memory grows with the number of locations, not its square;
- the attention of a ViT is computed for a limited number of queries at a time;
- the last block and the pool run in float32 whatever the precision: in half precision, sums over
  the locations of large pictures overflow.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
    from open_clip.transformer import VisionTransformer

    from featcache.backbone.spec import Positions

# Values of one attention matrix, of all heads together: 512 MB in float32.
_ATTENTION_VALUES = 1 << 27


def resnet_forward(
    visual: ModifiedResNet, images: Tensor, positions: Positions
) -> tuple[Tensor, Tensor]:
    """Run a modified ResNet and its attention pool.

    Args:
        visual: OpenCLIP's module.
        images: float32 [B, 3, H, W], both sides 32 or more.
        positions: What is added before the pool.

    Returns:
        The last map [B, W, h, w] and pooled embeddings [B, E], float32.
    """
    x = visual.stem(images)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4[:-1]):
        x = layer(x)  # [B, w_i, h_i, w_i]
    with _full_precision(x):
        features = visual.layer4[-1](x.float())  # [B, W, h, w]
        return features, _attention_pool(visual.attnpool, features, positions)


def vit_forward(
    visual: VisionTransformer, images: Tensor, positions: Positions
) -> tuple[Tensor, Tensor]:
    """Run a ViT whose blocks are plain (see `has_plain_blocks`).

    Args:
        visual: OpenCLIP's module, without an attention pool.
        images: float32 [B, 3, H, W], both sides a patch or more; what is left of a side that is
            no multiple of the patch is cut off.
        positions: What is added to the tokens.

    Returns:
        Tokens of the last block [B, 1 + P, W], class token first, and pooled [B, E], float32.
    """
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # [B, P, W]
    first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)  # [B, 1, W]
    x = torch.cat([first, patches], dim=1)  # [B, 1 + P, W]
    x = visual.ln_pre(_with_positions(x, visual.positional_embedding, positions))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = _block(block, x)
    with _full_precision(x):
        x = _block(last, x.float())
        # As `VisionTransformer._pool` does without an attention pool.
        final = x if visual.final_ln_after_pool else visual.ln_post(x)
        pooled = final[:, 0] if visual.pool_type == "tok" else final[:, 1:].mean(dim=1)  # [B, W]
        pooled = visual.ln_post(pooled) if visual.final_ln_after_pool else pooled
        return x, pooled if visual.proj is None else pooled @ visual.proj


def has_plain_blocks(visual: VisionTransformer) -> bool:
    """Whether all blocks are those of CLIP, whose attention `vit_forward` computes in parts."""
    return all(
        type(block) is ResidualAttentionBlock and block.attn.batch_first
        for block in visual.transformer.resblocks
    )


def _attention_pool(pool: AttentionPool2d, features: Tensor, positions: Positions) -> Tensor:
    """Attend from the mean to all locations: [B, W, h, w] -> [B, E]."""
    x = features.flatten(2).transpose(1, 2)  # [B, h * w, W]
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)  # [B, 1 + h * w, W]
    x = _with_positions(x, pool.positional_embedding, positions)
    q = _heads(pool.q_proj(x[:, :1]), pool.num_heads)  # [B, heads, 1, W / heads]
    k = _heads(pool.k_proj(x), pool.num_heads)  # [B, heads, 1 + h * w, W / heads]
    v = _heads(pool.v_proj(x), pool.num_heads)
    y = functional.scaled_dot_product_attention(q, k, v)  # [B, heads, 1, W / heads]
    return cast("Tensor", pool.c_proj(y.transpose(1, 2).flatten(1)))  # [B, E]


def _with_positions(tokens: Tensor, table: Tensor, positions: Positions) -> Tensor:
    """Add a table of positions [n, W] to tokens [B, N, W], as asked for."""
    if positions == "none":
        return tokens
    if len(table) != tokens.shape[1]:
        if positions != "interpolated":
            raise ValueError(f"{len(table)} positions for {tokens.shape[1]} tokens")
        size = (tokens.shape[1], table.shape[1])
        # The axis of channels keeps its length, and bicubic weights there are 0 and 1.
        table = functional.interpolate(table.float()[None, None], size, mode="bicubic")[0, 0]
    return tokens + table.to(tokens.dtype)  # [B, N, W]


def _block(block: Any, x: Tensor) -> Tensor:
    """Run a `ResidualAttentionBlock` on [B, N, W], some queries of its attention at a time."""
    x = x + block.ls_1(_self_attention(block.attn, block.ln_1(x)))
    return cast("Tensor", x + block.ls_2(block.mlp(block.ln_2(x))))


def _self_attention(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    B, N, _ = x.shape
    heads = attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias  # [3 W, W], [3 W]
    parts = functional.linear(x, weight, bias).chunk(3, dim=-1)  # 3 x [B, N, W]
    q, k, v = (_heads(part, heads) for part in parts)  # each [B, heads, N, W / heads]
    rows = max(1, _ATTENTION_VALUES // (B * heads * N))
    y = torch.cat(
        [
            functional.scaled_dot_product_attention(part, k, v)
            for part in torch.split(q, rows, dim=2)
        ],
        dim=2,
    )  # [B, heads, N, W / heads]
    return cast("Tensor", attention.out_proj(y.transpose(1, 2).flatten(2)))  # [B, N, W]


def _heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, W] -> [B, heads, N, W / heads]."""
    B, N, W = x.shape
    return x.reshape(B, N, heads, W // heads).transpose(1, 2)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off where it is on."""
    kind = x.device.type
    return (
        torch.autocast(kind, enabled=False)
        if x.device.type != "meta" and torch.is_autocast_enabled(kind)
        else nullcontext()
    )
