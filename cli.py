"""The command line: the group of the commands, and what becomes of their errors.

A command parses, calls one function and shows; each stands in a module of `simsearch.commands`. Only these and this
file import click. Every other import stands inside a command, because what a command does not use is what its user
waits for.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from simsearch.commands.audit import audit
from simsearch.commands.classify import classify
from simsearch.commands.common import FAILED, INTERRUPTED, USAGE, say
from simsearch.commands.evaluate import evaluate
from simsearch.commands.export import export
from simsearch.commands.index import index
from simsearch.commands.info import info
from simsearch.commands.similar import similar
from simsearch.commands.train import train
from simsearch.errors import SimsearchError, WhereError


class Commands(click.Group):
    """Turns our errors into one sentence and an exit status."""

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


for command in (index, similar, classify, train, evaluate, audit, info, export):
    main.add_command(command)


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
