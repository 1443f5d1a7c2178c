"""The commands of the command line, a module each. With cli.py, the only importers of click."""
