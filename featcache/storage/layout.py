"""Names and shapes of everything inside a cache folder, and the folder's paths.

cache.json         what the features are, and a digest of every other file
samples.parquet    one row per image
labels.parquet     one row per (image, query, fold)
prompts.h5         tokens of every prompt
shards/00000.h5    features
history.jsonl      one line per run that wrote to the cache: when, where, how long
.makers            who has made which shard, while an extraction runs
.lock              held by the process that is writing
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from featcache.errors import CacheNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 2  # of what is written
READABLE_VERSIONS = (1, 2)

MANIFEST = "cache.json"
SAMPLES = "samples.parquet"
LABELS = "labels.parquet"
PROMPTS = "prompts.h5"
PLANNED = "planned.parquet"  # in a part alone
HISTORY = "history.jsonl"
LOCK = ".lock"
MAKERS = ".makers"  # who has made which shard, until it stands in the history
HELD = ".lock.held"  # stands for the lock where the file system has none
SHARDS = "shards"

View = Literal["original", "hflip"]
VIEWS = get_args(View)
DType = Literal["float16", "float32", "int8"]
DTYPES = get_args(DType)
_SHARD = re.compile(rf"{SHARDS}/[0-9]{{5,9}}\.h5")
DEFAULT_SHARD_SIZE = 512  # images: 79 MB per view at 100 x 768 float16


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Shapes of one image's and one prompt's features.

    Attributes:
        num_tokens: P, patch tokens per view; 0 in a cache without them.
        token_dim: C, channels of a patch token; 0 in a cache without them.
        pooled_dim: E, size of a pooled embedding.
        context_length: T, tokens of a prompt.
        text_dim: D, channels of a prompt token.
    """

    num_tokens: int
    token_dim: int
    pooled_dim: int
    context_length: int
    text_dim: int

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        tokenless = self.num_tokens == 0 and self.token_dim == 0
        for name, size in self.to_dict().items():
            least = 0 if tokenless and name in ("num_tokens", "token_dim") else 1
            if type(size) is not int or not least <= size < 1 << 31:
                raise ValueError(f"{name} must be a positive integer, not {size!r}")

    def to_dict(self) -> dict[str, int]:
        """Return the fields as JSON values."""
        return {
            "num_tokens": self.num_tokens,
            "token_dim": self.token_dim,
            "pooled_dim": self.pooled_dim,
            "context_length": self.context_length,
            "text_dim": self.text_dim,
        }

    def without_tokens(self) -> Shapes:
        """Return the shapes of a cache that keeps pooled embeddings alone."""
        return replace(self, num_tokens=0, token_dim=0)

    @classmethod
    def of(cls, source: Any) -> Shapes:
        """Read the fields of anything that has them as attributes, such as a ``Backbone``."""
        return cls(
            num_tokens=source.num_tokens,
            token_dim=source.token_dim,
            pooled_dim=source.pooled_dim,
            context_length=source.context_length,
            text_dim=source.text_dim,
        )


def shard_name(index: int) -> str:
    """Return the path of a shard below the cache folder."""
    return f"{SHARDS}/{index:05d}.h5"


def is_shard(name: str) -> bool:
    """Tell whether a path below the cache folder is that of a shard."""
    return bool(_SHARD.fullmatch(name))


def shard_number(name: str) -> int:
    """Return the number of a shard from the path that `shard_name` made of it."""
    return int(name.removeprefix(f"{SHARDS}/").removesuffix(".h5"))


def shard_numbers(folder: Path) -> list[int]:
    """List the numbers of the shards that are on the disk."""
    names = (path.stem for path in (folder / SHARDS).glob("*.h5"))
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def bytes_per_image(shapes: Shapes, *, views: int, dtype: str) -> int:
    """Return what one image takes on the disk, without the constant part of a shard."""
    values = shapes.num_tokens * shapes.token_dim
    size = {"float16": 2 * values, "float32": 4 * values, "int8": values + 4 * shapes.num_tokens}
    return views * (size[dtype] + 4 * shapes.pooled_dim) + 512  # 512: record, id and digest


def folder_exists(path: Path) -> bool:
    """Tell whether a folder holds a cache, complete or not."""
    return (path / MANIFEST).is_file()


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+")  # two letters at least: C:/ is a drive


def is_address(place: str | Path) -> bool:
    """Tell whether a place is an address such as ``s3://bucket/cache``, and not a folder."""
    return bool(_ADDRESS.match(str(place))) and not str(place).startswith("file:")


def require_folder(place: str | Path) -> None:
    """Raise CacheNotFoundError for an address: features are mapped, so they must be on a disk."""
    if is_address(place):
        address = _ADDRESS.sub(r"\1://", str(place), count=1)  # a Path keeps one slash only
        name = address.rstrip("/").rsplit("/", 1)[-1]
        raise CacheNotFoundError(
            f"{address} is not on a disk of this machine: copy it first, with "
            f"`featcache copy {address} cache/{name}`"
        )
