"""A text tower from nothing: does training on captions made of labels make text search work on works held out?

Usage: text_tower.py WIKIART [--works 2000] [--held-out 1000] [--epochs 8] [--seed 0] [--out text_tower.json]

WIKIART is a folder of works with an artworks.csv that has the columns path, style, genre, artist and split. Works are
drawn from both parts of the split and copied; the product indexes them, tunes a CLIP on those of `train`, indexes all
with what came of it, and is asked in words for works of `val`, whose labels no step before has seen.

simsearch never begins with random weights, so this script makes the checkpoint it begins with itself: a small CLIP
of open_clip's architecture with random numbers. The same questions are put to that one, and chance is computed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simsearch import Options, index_folders, open_collection
from simsearch.captions import prompts
from simsearch.classifier.finetune.augment import Augment
from simsearch.classifier.finetune.clip.measure import NEAREST
from simsearch.classifier.finetune.clip.sections import Captions, Wise
from simsearch.classifier.finetune.clip.telling import Telling
from simsearch.classifier.finetune.recipe import Phase, Recipe
from simsearch.classifier.finetune.runs import Means, finetune, works_for
from simsearch.classifier.finetune.works import Works, load_works
from simsearch.encoders.registry import load_encoder
from simsearch.vectors import Rows

LABELS = ("style", "genre", "artist")
SIDE, RESAMPLES = 64, 500
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 32, "patch_size": None, "head_width": 64},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}
FED = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic", "resize_mode": "squash"}
SPLITS = {"train": "train", "val": "val", "test": "val"}
"""What the table says to the part that a work is taken for."""


def main() -> None:
    """Prints the figures and writes them with all that made them."""
    asked = _arguments()
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="text-tower-"))
    try:
        counts = draw_works(asked.wikiart, place / "art", asked.works, asked.held_out, asked.seed)
        start = random_clip(place / "start", asked.seed)
        _say(f"{start} is a CLIP of random numbers, made here: simsearch itself begins with none")
        recipe = recipe_for(start, asked.epochs, asked.seed)
        with open_collection(place, write=True) as collection:
            collection.notice = _say
            index_folders(collection, [place / "art"], Options(encoder="color"))
            works = works_for(collection, [recipe])
            learning = time.monotonic()
            run = finetune(
                collection, recipe, works, means=Means(device="auto", max_steps=asked.steps), watch=_progress
            )
            learned = time.monotonic() - learning
            everything = load_works(collection, LABELS, split="none")
            held = val_works(everything, place / "art")
        figures = {
            name: measured(location, everything, held, asked.seed)
            for name, location in {"trained": f"clip:{run.folder / 'clip'}", "random": f"clip:{start}"}.items()
        }
        report = {
            "what": "text search on held-out works by a CLIP trained from random weights on captions made of labels",
            "works": counts | {"learned_from": run.learned_from, "asked_about": len(held)},
            "architecture": ARCHITECTURE, "parameters": run.parameters,
            "recipe": {"epochs": asked.epochs, "batch_size": recipe.batch_size, "seed": asked.seed,
                       "lr": recipe.phases[-1].lr, "max_steps": asked.steps},
            "figures": figures,
            "beats_chance": {
                name: round(figures["trained"][name]["value"] / figures["trained"][name]["chance"], 2)
                for name in figures["trained"]
            },
            "seconds": {"training": round(learned), "all": round(time.monotonic() - began)},
            "torch": torch.__version__, "device": "cuda" if torch.cuda.is_available() else "cpu",
        }  # fmt: skip
    finally:
        shutil.rmtree(place, ignore_errors=True)
    asked.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"figures": figures, "beats_chance": report["beats_chance"]}, indent=2))


# -- what it begins with -----------------------------------------------------------------------------------------------


def draw_works(source: Path, to: Path, learn: int, hold: int, seed: int) -> dict[str, int]:
    """Copies works of both parts with a table of their own; how many of each."""
    with (source / "artworks.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["style"] and SPLITS.get(row["split"])]
    random = np.random.default_rng(seed)
    drawn = []
    for part, count in (("train", learn), ("val", hold)):
        of_part = [row | {"split": part} for row in rows if SPLITS[row["split"]] == part]
        places = np.sort(random.permutation(len(of_part))[:count])
        drawn += [of_part[place] for place in places.tolist()]
    to.mkdir(parents=True)
    for number, row in enumerate(drawn):
        name = f"{number:05}{Path(row['path']).suffix}"
        shutil.copyfile(source / row["path"], to / name)
        row["path"] = name
    columns = ["path", *LABELS, "split"]
    with (to / "artworks.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(drawn)
    return {part: sum(row["split"] == part for row in drawn) for part in ("train", "val")}


def random_clip(folder: Path, seed: int) -> Path:
    """A folder with a CLIP of :data:`ARCHITECTURE` as open_clip begins it."""
    from open_clip import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    config = {"model_cfg": ARCHITECTURE, "preprocess_cfg": FED}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {name: value.contiguous() for name, value in CLIP(**ARCHITECTURE).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def recipe_for(start: Path, epochs: float, seed: int) -> Recipe:
    """Captions of labels, from a first step on for both towers."""
    mild = Augment(crop=0.6, colour=0.1, hue=0, gray=0, blur=0, jpeg=0, rotate=0, resample=0, letterbox=0)
    return Recipe(
        "text_tower", f"clip:{start}", tasks={}, captions=Captions(labels=LABELS), wise=Wise(alphas=()), augment=mild,
        phases=(Phase(epochs, "all", lr=2e-3, head_lr=2e-3, weight_decay=0.1, warmup=0.1),), batch_size=128,
        held_out=0.05, ema=0.99, seed=seed,
    )  # fmt: skip


# -- what it finds -----------------------------------------------------------------------------------------------------


def val_works(works: Works, art: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of the works that the table holds out."""
    with (art / "artworks.csv").open(encoding="utf-8", newline="") as file:
        val = {row["path"] for row in csv.DictReader(file) if row["split"] == "val"}
    return np.array([place for place, path in enumerate(works.paths) if path.name in val], np.int64)


def measured(location: str, works: Works, held: np.ndarray[Any, Any], seed: int) -> dict[str, dict[str, float]]:
    """P@10 of styles and genres as questions and R@10 of whole captions, with 95 % intervals beside chance.

    Intervals are of a bootstrap of the works held out; a work that is drawn twice is there twice.
    """
    encoder: Any = load_encoder(location)
    images = _embedded(encoder, [works.paths[place] for place in held.tolist()])
    told = Telling(Captions(labels=LABELS), works)
    questions = told.questions(held)
    texts = encoder.embed_texts([question.text for question in questions])
    cosines = {"captions_r10": (texts @ images.T, np.array([question.finds for question in questions]))}
    for kind in ("style", "genre"):
        values = works.labels[kind][held]
        names = [name for name in np.unique(values).tolist() if name]
        rows = np.stack([encoder.embed_texts(prompts(kind, name)).mean(0) for name in names])
        cosines[f"{kind}_p10"] = (rows @ images.T, np.array([values == name for name in names]))
    out = {}
    for name, (scores, right) in cosines.items():
        figure = recall if name.endswith("r10") else precision
        random = np.random.default_rng(seed)
        draws = [random.integers(0, len(held), len(held)) for _ in range(RESAMPLES)]
        found = [figure(scores[:, draw], right[:, draw]) for draw in draws]
        low, high = np.nanpercentile(found, [2.5, 97.5])
        chance = chance_of(right, name.endswith("r10"))
        said = {"value": figure(scores, right), "low": low, "high": high, "chance": chance, "questions": len(scores)}
        out[name] = {key: round(float(value), 4) for key, value in said.items()}
    return out


def precision(scores: Rows, right: np.ndarray[Any, Any]) -> float:
    """Mean over questions of the share of the ten first that are right."""
    return float(_first(scores, right).mean())


def recall(scores: Rows, right: np.ndarray[Any, Any]) -> float:
    """Share of the questions that have a right one among the ten first; of those that have any at all."""
    has = right.any(1)
    return float(_first(scores, right).any(1)[has].mean())


def chance_of(right: np.ndarray[Any, Any], recall: bool) -> float:
    """The same figure of a random order."""
    from math import comb

    n = right.shape[1]
    counts = right.sum(1).tolist()
    each = [1 - comb(n - c, NEAREST) / comb(n, NEAREST) if recall else c / n for c in counts]
    return float(np.mean(each))


def _first(scores: Rows, right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    order = np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST]
    return np.take_along_axis(right, order, 1)


def _embedded(encoder: Any, paths: list[Path]) -> Rows:
    from simsearch.images import decode, fit, read_bytes

    rule = encoder.info.preprocessing
    rows = []
    for start in range(0, len(paths), 64):
        pixels = [fit(decode(read_bytes(path), path.name), rule) for path in paths[start : start + 64]]
        rows.append(encoder.embed_images(np.stack(pixels)))
    return np.concatenate(rows)


# -- around it ---------------------------------------------------------------------------------------------------------


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wikiart", type=Path)
    parser.add_argument("--works", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--steps", type=int, default=None, help="at most so many, to try it out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("text_tower.json"))
    return parser.parse_args()


def _progress(what: str, done: int, of: int) -> None:
    if what.startswith("phase") and done % 20 == 0:
        _say(f"{what}: {done} of {of} steps")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
