"""The page for people with photos: rank, why, teach, cull, take away; served locally."""
