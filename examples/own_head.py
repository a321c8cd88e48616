"""Your own head, trained on cached patch tokens.

The backbone runs once. After that, an experiment with another head, loss or learning rate costs
seconds, because a batch is read from the cache.

    python examples/own_head.py [--images 200] [--steps 200] [--folder own_head]
"""

import argparse
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import nn
from torch.utils.data import DataLoader

from featcache import BackboneSpec, Cache, ExtractConfig, extract, load_backbone, open_dataset
from featcache.torch import CacheDataset

QUERY = "sort images by the image quality of brightness."


class AttentionPool(nn.Module):
    """Pools the patch tokens with one learned query, and gives one number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.question = nn.Parameter(torch.zeros(width))
        self.answer = nn.Linear(width, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        attention = (tokens @ self.question).softmax(dim=1)  # (B, P)
        pooled = (attention.unsqueeze(2) * tokens).sum(dim=1)  # (B, C)
        return self.answer(pooled).squeeze(1)  # (B,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("own_head"))
    options = parser.parse_args()

    # 1. Pictures to features. The second time, this finds everything done.
    dataset = open_dataset("demo", options.folder / "images", count=options.images)
    backbone = load_backbone(BackboneSpec(name="drawn-scenes-clip"), device="cpu")
    extract(dataset, options.folder / "cache", backbone, ExtractConfig())

    # 2. Train the head.
    cache = Cache.open(options.folder / "cache")
    train = CacheDataset(cache, query=QUERY, split="train")
    test = CacheDataset(cache, query=QUERY, split="test")
    torch.manual_seed(0)
    head = AttentionPool(cache.shapes.token_dim)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    loader = DataLoader(train, batch_size=32, shuffle=True)
    values = torch.stack([item["value"] for item in loader.dataset])
    step = 0
    while step < options.steps:
        for batch in loader:
            target = (batch["value"] - values.mean()) / values.std()
            loss = nn.functional.smooth_l1_loss(head(batch["tokens"].float()), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1

    # 3. Measure it on images that it has not seen.
    with torch.inference_mode():
        batch = next(iter(DataLoader(test, batch_size=len(test))))
        scores = head(batch["tokens"].float())
    print(f"SRCC {spearmanr(scores, batch['value'])[0]:.3f} on {len(test)} test images")


if __name__ == "__main__":
    main()
