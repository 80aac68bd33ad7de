"""`python -m humor`."""

from .cli.app import main

main()
