"""`python -m featcache`: the same as the command `featcache`."""

from cli.featcache import main

main()
