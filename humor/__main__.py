"""`python -m humor`."""

from .cli import main

main()
