"""featcache: run a frozen CLIP backbone once and keep its features in HDF5 shards.

from featcache import Cache
cache = Cache.open("cache/ava")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig
    from featcache.reading.cache import Cache

__all__ = ["Cache", "ExtractConfig", "extract"]


_MODULE_OF = {
    "Cache": "reading.cache",
    "ExtractConfig": "extraction.plan",
    "extract": "extraction.extract",
}


def __getattr__(name: str) -> Any:
    """Import the reader and the extraction when they are first asked for (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"featcache.{_MODULE_OF[name]}"), name)
