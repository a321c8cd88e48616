"""Command lines of featcache and adapter."""
