"""`python -m simsearch`."""

from simsearch.cli import main

main()
