"""`python -m adapter`: the same as the command `adapter`."""

from cli.adapter import main

main()
