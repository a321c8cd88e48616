"""featcache: run a frozen CLIP backbone once and keep its features in HDF5 shards.

from featcache import Cache
cache = Cache.open("cache/ava")

What ``dir(featcache)`` lists, and ``featcache.torch``, is for users; all else is internal. Names
are imported when they are first asked for (PEP 562): ``import featcache`` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featcache.errors import (
    BackboneError,
    CacheFormatError,
    CacheLockedError,
    CacheNotFoundError,
    ConfigError,
    DatasetError,
    DatasetNotFoundError,
    DiskSpaceError,
    FeatcacheError,
    FingerprintMismatchError,
    FolderLockedError,
    ImageError,
    MappingError,
    PromptNotFoundError,
    TooManyFailuresError,
    WriteError,
)

if TYPE_CHECKING:
    from featcache.backbone import BackboneSpec, load_backbone
    from featcache.datasets import names as list_datasets
    from featcache.datasets import open_dataset
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig
    from featcache.maintenance.repair import repair_cache as repair
    from featcache.maintenance.verify import verify_cache as verify
    from featcache.reading.cache import Cache

    __version__: str

__all__ = [
    "BackboneError",
    "BackboneSpec",
    "Cache",
    "CacheFormatError",
    "CacheLockedError",
    "CacheNotFoundError",
    "ConfigError",
    "DatasetError",
    "DatasetNotFoundError",
    "DiskSpaceError",
    "ExtractConfig",
    "FeatcacheError",
    "FingerprintMismatchError",
    "FolderLockedError",
    "ImageError",
    "MappingError",
    "PromptNotFoundError",
    "TooManyFailuresError",
    "WriteError",
    "__version__",
    "extract",
    "list_datasets",
    "load_backbone",
    "open_dataset",
    "repair",
    "verify",
]

# name -> module, and its name there
_LAZY = {
    "BackboneSpec": ("backbone.spec", "BackboneSpec"),
    "Cache": ("reading.cache", "Cache"),
    "ExtractConfig": ("extraction.plan", "ExtractConfig"),
    "extract": ("extraction.extract", "extract"),
    "list_datasets": ("datasets", "names"),
    "load_backbone": ("backbone", "load_backbone"),
    "open_dataset": ("datasets", "open_dataset"),
    "repair": ("maintenance.repair", "repair_cache"),
    "verify": ("maintenance.verify", "verify_cache"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        from featcache.versions import package_version

        return package_version("featcache")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(f"featcache.{module}"), attribute)


def __dir__() -> list[str]:
    """List the public names, without importing them."""
    return sorted(__all__)
