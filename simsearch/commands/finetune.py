"""`simsearch finetune`: networks trained on the collection's own works and labels."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.commands.common import collection_option, open_collection, say
from simsearch.errors import SimsearchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simsearch.classifier.finetune.choose import Changes
    from simsearch.classifier.finetune.compare import Compared
    from simsearch.classifier.finetune.recipe import Recipe
    from simsearch.classifier.finetune.runs import Begin, Means
    from simsearch.collection import Collection


@click.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@collection_option
@click.option("--compare", is_flag=True, help="Train each RECIPE on the same works, and show one table.")
@click.option("--label", "tasks", multiple=True, metavar="KIND",
              help="Kind of label to learn, instead of the recipe's; may be given several times.")  # fmt: skip
@click.option("--caption-column", "column", metavar="NAME",
              help="Column whose texts a CLIP is told of the works, instead of captions made of labels.")  # fmt: skip
@click.option("--backbone", metavar="NAME", help="Network to start from: timm:NAME, clip:NAME/TAG, or cnn:3.")
@click.option("--weights", metavar="FILE",
              help="Its weights: a .safetensors file, hub, or none for random ones (a CLIP never begins with "
                   "those).")  # fmt: skip
@click.option("--input-size", type=click.IntRange(min=1), metavar="PIXELS", help="Side of the squares it sees.")
@click.option("--neck", type=click.Choice(["pool", "conv-lstm"]), help="From its last features to one vector.")
@click.option("--name", metavar="NAME", help="What to call the run.  [default: the recipe's name]")
@click.option("--where", metavar="EXPR", help="Only works that fit, such as \"new_artist != 'yes'\".")
@click.option("--split-by", default="auto", show_default=True, metavar="ATTRIBUTE",
              help="Column that says `train` or `val` of a work; auto: KIND_split, else split; none: no "
                   "split.")  # fmt: skip
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Epochs of the last phase.")
@click.option("--batch-size", type=click.IntRange(min=2), metavar="N", help="Works in a batch.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N",
              help="Number by which every draw is made again as it was.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Any key of the recipe, such as phases.0.lr=2e-4; may be given several times.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), metavar="N",
              help="At most so many steps a phase, to try a recipe out.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where to compute; auto takes a GPU where there is one.")  # fmt: skip
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
              help="Numbers to compute in; auto takes bfloat16 where the device is faster with it.")  # fmt: skip
@click.option("--compile", "compiled", is_flag=True, help="Let torch compile the network first: slow to start.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, and begin none where there is none.")
@click.option("--restart", is_flag=True, help="Begin anew, and replace what a run of this name left.")
@click.option("--plot", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write losses and held-out figures as PNG.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the recipe, the works and the steps; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def finetune(
    recipes: tuple[str, ...], collection: Path | None, compare: bool, where: str | None, split_by: str,
    resume: bool, restart: bool, plot: Path | None, dry_run: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Trains a network on the works and labels of the collection, by a recipe.

    RECIPE is a YAML file, or the name of a recipe that comes with simsearch; without one, --backbone makes a plain one.
    A part of the works is held out, whole artists where they are known, and measures the network. Works that a
    published split holds out are not looked at. An interrupted run goes on when it is asked for again.

    A CLIP (--backbone clip:...) is told captions made of the labels (--label), or a column's texts (--caption-column).
    It stays a CLIP that understands text: the run's folder holds what `index --encoder clip:FOLDER` takes.
    """
    _check_usage(recipes, compare, resume, restart, plot, dry_run, options)
    from simsearch.classifier.finetune.runs import check_torch

    chosen = _recipes(recipes, compare, options)
    if not dry_run:
        check_torch(chosen[0])
    begin: Begin = "restart" if restart else "resume" if resume else "auto"
    with open_collection(collection) as opened:
        if plot:
            with _writing(plot):
                plot.mkdir(parents=True, exist_ok=True)  # before hours of training
        if dry_run:
            _show_plan(opened, chosen[0], where, split_by, options["steps"], restart, as_json)
            return
        try:
            done = _trained(opened, chosen, compare, where, split_by, _means(options), begin)
        except KeyboardInterrupt:
            say("the same command goes on where it stopped")
            raise
        finally:
            if plot:
                _write_plots(opened, [recipe.name for recipe in chosen], plot)
        _show(done, compare, as_json)


def _check_usage(
    recipes: tuple[str, ...], compare: bool, resume: bool, restart: bool, plot: Path | None, dry_run: bool,
    options: dict[str, Any],
) -> None:  # fmt: skip
    if resume and restart:
        raise click.UsageError("--resume goes on with a run and --restart replaces it; give one of them")
    if dry_run and plot:
        raise click.UsageError("--dry-run trains nothing, so there is nothing to --plot")
    if compare:
        if not recipes:
            raise click.UsageError("--compare needs recipes to compare; name two or more, or a YAML file of several")
        if options["name"] or resume or dry_run:
            raise click.UsageError("--compare takes neither --name nor --resume nor --dry-run")
    elif len(recipes) > 1:
        raise click.UsageError(f"{len(recipes)} recipes are named; train one, or give --compare")
    elif not recipes and not options["backbone"]:
        raise click.UsageError("name a RECIPE (a YAML file, or one that comes with simsearch), or give --backbone")


def _recipes(names: tuple[str, ...], compare: bool, options: dict[str, Any]) -> list[Recipe]:
    from simsearch.classifier.finetune.choose import bare_recipe, changed, find_recipes

    found = [recipe for name in names for recipe in find_recipes(name)] or [bare_recipe(options["backbone"])]
    if len(found) > 1 and not compare:
        raise click.UsageError(f"{names[0]} holds {len(found)} recipes; train them with --compare")
    return [changed(recipe, _changes(options)) for recipe in found]


def _changes(options: dict[str, Any]) -> Changes:
    from simsearch.classifier.finetune.choose import Changes

    return Changes(
        **{key: options[key] for key in ("name", "backbone", "weights", "input_size", "neck", "epochs", "batch_size",
                                         "seed", "settings", "column")},
        tasks=tuple(dict.fromkeys(options["tasks"])),
    )  # fmt: skip


def _means(options: dict[str, Any]) -> Means:
    from simsearch.classifier.finetune.runs import Means

    return Means(options["device"], options["precision"], options["compiled"], options["steps"])


def _trained(
    opened: Collection, recipes: list[Recipe], several: bool, where: str | None, split: str, means: Means, begin: Begin
) -> Compared:
    from simsearch.classifier.finetune import compare, runs
    from simsearch.show.progress import progress

    with progress(sys.stderr, unit="") as watch:
        if several:
            return compare.compare(opened, recipes, where=where, split=split, means=means, begin=begin, watch=watch)
        works = runs.works_for(opened, recipes, where, split, watch)
        done = runs.finetune(opened, recipes[0], works, means=means, begin=begin, watch=watch)
        return compare.compared(recipes, works, [done])


def _show_plan(
    opened: Collection, recipe: Recipe, where: str | None, split: str, steps: int | None, restart: bool, as_json: bool
) -> None:
    from simsearch.classifier.finetune.choose import as_yaml
    from simsearch.classifier.finetune.plan import plan
    from simsearch.classifier.finetune.runs import works_for
    from simsearch.show.finetuned import show_plan
    from simsearch.show.hits import stdout
    from simsearch.show.progress import progress
    from simsearch.show.text import json_line

    with progress(sys.stderr, unit="") as watch:
        works = works_for(opened, [recipe], where, split, watch)
        planned = plan(opened, recipe, works, steps, restart=restart)
    if as_json:
        stdout().write(json_line(planned.to_dict()) + "\n")
    else:
        show_plan(planned.to_dict(), as_yaml(recipe), stdout())


def _show(done: Compared, several: bool, as_json: bool) -> None:
    from simsearch.show.finetuned import show_compared, show_run
    from simsearch.show.hits import stdout
    from simsearch.show.text import json_line

    if as_json:
        stdout().write(json_line(done.to_dict()) + "\n")
    elif several:
        show_compared(done.to_dict(), stdout())
    else:
        show_run(done.to_dict(), stdout())


def _write_plots(opened: Collection, names: list[str], folder: Path) -> None:
    from simsearch.classifier.finetune.runs import folder_of, read_log, trade_off
    from simsearch.show import curves
    from simsearch.show.tradeoff import trade_off_plot

    drawn = 0
    with _writing(folder):
        for name in names:
            log = read_log(folder_of(opened, name))
            if curves.has_steps(log):
                (folder / f"{name}-losses.png").write_bytes(curves.losses_plot(log, name))
            if curves.has_held_out(log):
                (folder / f"{name}-held-out.png").write_bytes(curves.held_out_plot(log, name))
            if measured := trade_off(folder_of(opened, name)):
                (folder / f"{name}-tradeoff.png").write_bytes(trade_off_plot(measured, name))
            drawn += bool(log)
    if drawn:
        say(f"plots of {', '.join(names)} in {folder}")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SimsearchError(f"{error.filename or path} cannot be written: {error.strerror or error}") from error
