"""adapter: ranking-aware adapters, trained from a featcache cache."""
