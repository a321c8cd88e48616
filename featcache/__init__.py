"""featcache: run a frozen CLIP backbone once and keep its features in HDF5 shards.

from featcache import Cache
cache = Cache.open("cache/ava")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.cache import Cache
    from featcache.extraction import extract
    from featcache.plan import ExtractConfig

__all__ = ["Cache", "ExtractConfig", "extract"]


def __getattr__(name: str) -> Any:
    """Import the reader and the extraction when they are first asked for (PEP 562)."""
    if name == "Cache":
        from featcache.cache import Cache

        return Cache
    if name == "ExtractConfig":
        from featcache.plan import ExtractConfig

        return ExtractConfig
    if name == "extract":
        from featcache.extraction import extract

        return extract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
