"""Caches and runs to and from object stores, hubs and other folders; every byte is checked."""
