"""What each encoder's embeddings know of style, genre, artist and kind: heads trained and evaluated on held-out works.

    python tests/benchmarks/heads.py --art ART [--collections FOLDER] [--encoders color,MODEL_FOLDER]

ART holds wikiart/ and kinds/, each with an artworks.csv whose column `split` says train or val; wikiart's `origin` says
how an image was made square, which a network can see, so each origin is also measured by itself. `--collections` keeps
the collections wikiart/ and kinds/ from run to run; what they lack is indexed first. Each task is `train`, then
`evaluate`, with the near-duplicates found once. A Markdown table for each encoder goes to standard output before the
raw results. Seconds of training are those of one head: the search for the penalty, the fit, and its figures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import arguments, finish

from simsearch.classifier.evaluate import evaluate
from simsearch.classifier.prepare import ClassChoices, SplitChoices
from simsearch.classifier.train import Choices, groups_for, train
from simsearch.collection import open_collection
from simsearch.errors import LabelError
from simsearch.figures import Evaluation
from simsearch.indexer.run import Options, index_folders

NEW_ARTISTS = SplitChoices(official=False, group_by="artist")


@dataclass(frozen=True, slots=True)
class Task:
    """One head."""

    title: str
    kind: str
    name: str
    choices: Choices = field(default_factory=Choices)
    folder: str = "wikiart"


TASKS = (
    Task("style", "style", "style"),
    Task("style, squashed", "style", "style-squashed", Choices(where="origin = 'squashed'")),
    Task("style, letterboxed", "style", "style-letterboxed", Choices(where="origin = 'letterboxed'")),
    Task("genre", "genre", "genre"),
    Task("artist, 20 works or more", "artist", "artist", Choices(classes=ClassChoices(min_images=20))),
    Task("style, new artists", "style", "style-new-artists", Choices(split=NEW_ARTISTS)),
    Task("genre, new artists", "genre", "genre-new-artists", Choices(split=NEW_ARTISTS)),
    Task("kind", "kind", "kind", folder="kinds"),
)
SMOKE = (
    Task("style", "style", "style", Choices(split=SplitChoices(share=0.3))),
    Task("genre, new artists", "genre", "genre-new-artists", Choices(split=NEW_ARTISTS)),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = arguments(__doc__, argv, collections="", encoders="color")
    encoders, rows = args.encoders.split(","), []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(args.collections or scratch)
        tasks = SMOKE if args.smoke else TASKS
        for folder in sorted({task.folder for task in tasks}, reverse=True):
            if not (args.art / folder).is_dir():
                print(f"there is no {args.art / folder}: its tasks are left out", file=sys.stderr)
                continue
            some = [task for task in tasks if task.folder == folder]
            rows += list(measured(place / folder, args.art / folder, encoders, some))
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        print(markdown(encoder, [row for row in rows if row["encoder"] == encoder]), flush=True)
    finish("heads", {"rows": rows}, args)


def measured(place: Path, art: Path, encoders: Sequence[str], tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """A row for each encoder and task on one collection, which is brought up to date first."""
    place.mkdir(parents=True, exist_ok=True)
    with open_collection(place, write=True) as collection:
        names = []
        for encoder in encoders:
            index_folders(collection, [art], Options(encoder=encoder))
            names.append(collection.encoder_entry(encoder).info.name)
        started = time.perf_counter()
        groups = groups_for(collection, sorted({task.kind for task in tasks}), Choices())
        looked = round(time.perf_counter() - started, 2)
        for name in names:
            for task in tasks:
                print(f"{name}: {task.title}", file=sys.stderr, flush=True)
                try:
                    head = train(
                        collection, task.kind, name=task.name, encoder=name, choices=task.choices, groups=groups
                    )
                except LabelError as error:
                    print(f"left out: {error}", file=sys.stderr)
                    continue
                found = evaluate(collection, task.kind, head=task.name, encoder=name, groups=groups)
                yield row(task, name, head.card, found) | {"near_duplicates_s": looked}


def row(task: Task, encoder: str, card: Any, found: Evaluation) -> dict[str, Any]:
    """The raw results of one head, less what has a line for each class."""
    said = found.to_dict()
    head = {key: said["head"][key] for key in ("ece", "brier", "threshold", "answered", "accuracy_answered")}
    return {
        "task": task.title, "encoder": encoder, "encoder_info": said["encoder"], "works": found.works,
        "gallery": found.gallery, "artists": found.artists, "classes": len(found.head.classes if found.head else ()),
        "left_out_of_training": card["works"]["left_out"], "left_out": said["left_out"], "split": card["split"],
        "fit": card["fit"], "train_s": card["seconds"], "evaluate_s": said["seconds"],
        "methods": {"head" if method["name"] == task.name else method["name"]: method for method in said["methods"]},
        "head": head, "retrieval": said["retrieval"],
    }  # fmt: skip


COLUMNS = ("task", "works", "classes", "top-1", "macro F1", "nearest", "10 nearest", "majority", "chance", "P@1",
           "P@10", "mAP", "ECE", "training")  # fmt: skip


def markdown(encoder: str, rows: Sequence[dict[str, Any]]) -> str:
    """A table of one encoder's rows; retrieval with works by the query's artist, then without."""
    lines = [f"\n{encoder}\n", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for each in rows:
        top1 = {name: figures["top1"] for name, figures in each["methods"].items()}
        cells = [each["task"], f"{each['works']:,}", str(each["classes"]), interval(top1["head"]),
                 interval(each["methods"]["head"]["macro_f1"])]  # fmt: skip
        cells += [share(top1[name]) for name in ("nearest work", "10 nearest works", "majority", "chance")]
        cells += [" / ".join(share(r[name]) for r in each["retrieval"]) for name in ("p_at_1", "p_at_10", "map")]
        cells += [share(each["head"]["ece"]), f"{each['train_s']:.0f} s"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def share(figure: Sequence[float]) -> str:
    """A figure without its interval, to three decimals: ``.613``."""
    return f"{figure[0]:.3f}".removeprefix("0")


def interval(figure: Sequence[float]) -> str:
    """A figure with its interval."""
    return "{} [{}, {}]".format(*(f"{value:.3f}".removeprefix("0") for value in figure))


if __name__ == "__main__":
    main()
