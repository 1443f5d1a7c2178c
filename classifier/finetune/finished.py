"""Where a finished run lies, and to which collection it belongs."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from simsearch import collection as collections
from simsearch.classifier.finetune.runs import CARD, FOLDER
from simsearch.errors import TrainingError


def run_folder(run: str, collection: Path | None = None) -> Path:
    """The folder of a run: the folder itself, or that of this name in the collection.

    `collection` is found as everywhere else where it is not given. Raises TrainingError, CollectionNotFoundError.
    """
    given = Path(run).expanduser()
    if (given / CARD).is_file():
        return given
    home = collections.find(collection)
    runs = sorted(path.name for path in (home / FOLDER).glob("*") if (path / CARD).is_file()) if home else []
    if home and run in runs:
        return home / FOLDER / run
    if given.is_dir() or (home and (home / FOLDER / run).is_dir()):
        raise TrainingError(
            f"{run} holds no finished run: it has no {CARD}; let `simsearch finetune` end, or resume it"
        )
    near = get_close_matches(run, runs, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"finished are {', '.join(runs)}" if runs else "none is finished"
    if home is None:
        raise TrainingError(
            f"there is no folder {run}, and no collection in {Path.cwd()} or above it that could hold a run of that "
            "name; name the run's folder, or the collection with --collection"
        )
    raise TrainingError(f"there is no run {run!r} in {home}; {hint}")


def home_of(run: Path, collection: Path | None = None) -> Path | None:
    """The collection that was named, or else the one that a run lies in, or else the one that is found from here."""
    if collection is None:
        for folder in run.resolve().parents:
            if folder.name == collections.FOLDER and (folder / collections.CATALOG).is_file():
                return folder
    return collections.find(collection)
