"""featcache: run a frozen CLIP backbone once and keep its features in HDF5 shards.

from featcache import Cache
cache = Cache.open("cache/ava")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig
    from featcache.reading.cache import Cache

__all__ = ["Cache", "ExtractConfig", "extract"]


def __getattr__(name: str) -> Any:
    """Import the reader and the extraction when they are first asked for (PEP 562)."""
    if name == "Cache":
        from featcache.reading.cache import Cache

        return Cache
    if name == "ExtractConfig":
        from featcache.extraction.plan import ExtractConfig

        return ExtractConfig
    if name == "extract":
        from featcache.extraction.extract import extract

        return extract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
