"""The files of a cache, one module each, and how they are written."""
