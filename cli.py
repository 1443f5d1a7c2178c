"""The command line: the group of the commands, and what becomes of their errors.

A command parses, calls one function and shows; each stands in a module of `simsearch.commands`. Only these and this
file import click. Every other import stands inside a command, because what a command does not use is what its user
waits for.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from simsearch.commands.common import FAILED, INTERRUPTED, USAGE, say
from simsearch.errors import SimsearchError, WhereError

COMMANDS = {
    "audit": "Finds labels that look wrong, for a person to review.",
    "bench": "Measures what bounds indexing on this machine, and proposes options.",
    "classify": "Says what each IMAGE resembles: style, genre, artist, with the works behind the answer.",
    "evaluate": "Measures what is known of a label, on works that were held out.",
    "export": "Writes the catalog, and the embeddings, for other programs.",
    "export-encoder": "Writes an encoder on torch as a model folder, which embeds without torch.",
    "finetune": "Trains a network on the works and labels of the collection, by a recipe.",
    "index": "Brings the collection up to date with FOLDERS, or with all that it knows.",
    "info": "Describes the collection: works, encoders, index, recall, sizes, failures.",
    "search": 'Shows the works that WORDS describe, such as "a stormy sea at dusk".',
    "similar": "Shows the works most like QUERY: a path, a URL, - for standard input, or an artwork's id.",
    "train": "Learns to tell styles, genres, artists or kinds from the labels and embeddings of the collection.",
}
"""Each command with the first line of its own help, so that a list of them imports none; a test compares the two."""


class Commands(click.Group):
    """Imports a command when it is asked for, and turns our errors into one sentence and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"simsearch.commands.{module}"), module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands into the help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except SimsearchError as error:
            from simsearch.show.text import harmless

            click.echo(f"simsearch: {harmless(str(error))}", err=True)
            ctx.exit(USAGE if isinstance(error, WhereError) else FAILED)
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(INTERRUPTED)
        except OSError as error:
            raise _about_output(error) from error
        finally:
            _flush()


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"simsearch {version('simsearch')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Finds artworks that look alike.

    Fill a collection once with `index`, then ask it what is like an image (`similar`) and what an image resembles
    (`classify`). `train` learns styles, genres and artists from its labels, `evaluate` says how well, and `audit` finds
    labels that look wrong. The collection is the folder .simsearch: the nearest one upward from here, or the one that
    --collection or SIMSEARCH_COLLECTION names.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but some files failed, 130 interrupted.
    """


def _flush() -> None:
    """Writes what waits for standard output, while there is still somebody to tell that it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _about_output(error) from error


def _about_output(error: OSError) -> Exception:
    """The same error, or a sentence where it is standard output that cannot be written."""
    if error.filename is not None or isinstance(error, BrokenPipeError):
        return error  # click ends quietly where who reads has seen enough
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  the interpreter would try again at its end
    return click.ClickException(f"standard output cannot be written: {error.strerror or error}")
