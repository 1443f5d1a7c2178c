"""Compares encoders on real images: the same work in another copy, kinds of art, origin, photographs on a wall, speed.

    python tests/benchmarks/art_encoder.py embed ENCODER --art ART --out FILE.npz [--only wikiart,pairs,kinds]
    python tests/benchmarks/art_encoder.py robustness ENCODER --art ART --embeddings FILE.npz [--changes crop,warp]
    python tests/benchmarks/art_encoder.py kinds ENCODER --art ART
    python tests/benchmarks/art_encoder.py origin FILE.npz --art ART
    python tests/benchmarks/art_encoder.py museum FILE.npz ... --art ART
    python tests/benchmarks/art_encoder.py speed ENCODER ... --art ART [--rounds 7]
    python tests/benchmarks/art_encoder.py report [COLUMN=]FILE.json ... [--art ART]

ENCODER is a built-in name or a model folder, run without torch; `--size` and `--resize` feed it otherwise than its card
says. ART holds wikiart/ with artworks.csv (path, style, artist, genre, split, origin, new_artist), pairs/museum/ with a
folder for each painting, pairs/reproductions/ with pairs.csv, and kinds/ with artworks.csv. FILE.npz is what `embed`
wrote: `path` (n,), relative to ART, and `embedding` (n, dim), which the yardstick of frozen embeddings reads too.

Cosines are taken of unit rows less the mean of wikiart's train rows. Every command but `embed` and `report` prints its
results as JSON, and `--out` keeps them; those of `speed` go to docs/benchmarks/art_speed.json. `--smoke` runs them all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import art_report
import numpy as np
from art_changes import CHANGES, same_picture
from art_embeddings import Framed, Gallery, draw_val, embed_files, opened, read_embeddings, read_table, sources
from art_probes import codes, first_found, linear_head, matched, probed, probed_by_folds
from art_report import share
from bench import RESULTS, interleaved, machine, ratio, timed
from smoke import paint

from simsearch.classifier import intervals, metrics
from simsearch.encoders.base import Pixels, usable_cores
from simsearch.errors import SimsearchError
from simsearch.images import Picture, decode, fit, read_bytes

FRAMINGS = ("squash", "pad", "crop")
AGREES = 0.99
"""Least median cosine of works embedded anew with their rows in a file of the same encoder: float16 costs .0005."""
SPEED_BATCH = 16
SPEED_THREADS = 2
COLD = """
import sys, time
import numpy
from simsearch.encoders.registry import load_encoder
started = time.perf_counter()
encoder = load_encoder(sys.argv[1])
side = encoder.info.preprocessing.size
encoder.embed_images((numpy.arange(side * side * 3) % 251).astype(numpy.uint8).reshape(1, side, side, 3))
print(time.perf_counter() - started)
"""
"""Seconds from loading an encoder to its first embedding, in a new process; numpy and our own modules come before."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command, or with --smoke all of them."""
    args = arguments(argv)
    try:
        if args.smoke:
            smoke(args.art)
        else:
            args.run(args)
    except (SimsearchError, OSError) as error:
        raise SystemExit(str(error)) from error


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="every command on a tiny painted set")
    parser.add_argument("--art", type=Path, help="with --smoke: a folder that holds a painted wikiart/")
    commands = parser.add_subparsers(title="commands")

    def command(run: Any, *, art: bool = True, out: Path | None = None) -> argparse.ArgumentParser:
        each = commands.add_parser(run.__name__, help=run.__doc__)
        each.set_defaults(run=run)
        each.add_argument("--art", type=Path, required=art, help="folder that holds wikiart/, pairs/ and kinds/")
        if run is not report:
            each.add_argument("--out", type=Path, default=out, help="where the results go")
        return each

    def framing(each: argparse.ArgumentParser) -> None:
        each.add_argument("encoder", help="a built-in name or a model folder")
        each.add_argument("--size", type=positive, help="side of the input in pixels, where the network takes any")
        each.add_argument("--resize", choices=FRAMINGS, help="instead of what the card says")

    each = command(embed)
    framing(each)
    each.add_argument("--only", default="wikiart,pairs,kinds", help="some of wikiart,pairs,kinds")
    each = command(robustness)
    framing(each)
    each.add_argument("--embeddings", type=Path, required=True, help="the encoder's embeddings of wikiart, by `embed`")
    each.add_argument("--changes", default=",".join(CHANGES), help="some of " + ",".join(CHANGES))
    each.add_argument("--works", type=positive, default=400, help="how many held-out works are drawn")
    each.add_argument("--seed", type=int, default=0, help="of the draw and of the warps")
    each = command(kinds)
    framing(each)
    command(origin).add_argument("file", type=Path, help="embeddings, by `embed`")
    command(museum).add_argument("files", type=Path, nargs="+", help="embeddings, by `embed`")
    each = command(speed, out=RESULTS / "art_speed.json")
    each.add_argument("encoders", nargs="+", help="built-in names or model folders; ratios are to the first")
    each.add_argument("--rounds", type=positive, default=7)
    each.add_argument("--works", type=positive, default=64, help="pictures a round")
    command(report, art=False).add_argument("files", nargs="+", metavar="[COLUMN=]FILE.json")
    args = parser.parse_args(argv)
    if not args.smoke and not hasattr(args, "run"):
        parser.error("name a command, or --smoke")
    return args


# -- embeddings --------------------------------------------------------------------------------------------------------


def embed(args: argparse.Namespace) -> None:
    """Embed the images of wikiart/, pairs/ and kinds/ into one file; what it holds already is kept."""
    if args.out is None:
        raise SystemExit("embed needs --out FILE.npz")
    paths = sources(args.art, args.only.split(","))
    try:
        embed_files(opened(args.encoder, args.resize, args.size), args.art, paths, args.out)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; {args.out} keeps what was embedded, and the same command goes on") from None


# -- the same work in another copy -------------------------------------------------------------------------------------


def robustness(args: argparse.Namespace) -> dict[str, Any]:
    """Whether changed copies of held-out works find their work first among all of wikiart."""
    names = args.changes.split(",")
    if wrong := [name for name in names if name not in CHANGES]:
        raise SystemExit(f"there is no change {wrong[0]!r}; there are {', '.join(CHANGES)}")
    framed, stored = opened(args.encoder, args.resize, args.size), read_embeddings(args.embeddings)
    stored.check(framed)
    gallery = Gallery.of(stored, args.art)
    places = draw_val(gallery, args.art, args.works, args.seed)
    files = [args.art / "wikiart" / gallery.table[place]["path"] for place in places]
    _check_agreement(framed, gallery, files[:16], places[:16])
    changed = {}
    for name in names:

        def copy(number: int, name: str = name) -> Pixels:
            image = decode(read_bytes(files[number]), str(files[number])).image
            draw = np.random.default_rng((args.seed, int(places[number])))
            other = CHANGES[name](image, draw)
            return fit(Picture(other, *other.size), framed.framing)

        queries = gallery.centred(framed.embed(range(len(files)), copy, f"{args.encoder}: {name}"))
        cosines = queries @ gallery.rows.T
        best = cosines.argmax(axis=1)
        own = cosines[np.arange(len(places)), places]
        right = best == places
        wrong = np.flatnonzero(~right)
        same = [bool(right[i]) or same_picture(files[i], args.art / gallery.path(best[i])) for i in range(len(files))]
        changed[name] = {
            "queries": len(files),
            "found": share(sum(same), len(files)),
            "itself": int(right.sum()),
            "median_cosine": round(float(np.median(own)), 4),
            "in_first_10": round(float(((cosines > own[:, None]).sum(axis=1) < 10).mean()), 4),
            "missed": [{"work": gallery.path(places[i]), "found": gallery.path(best[i]),
                        "place_of_work": int((cosines[i] > own[i]).sum()) + 1} for i in wrong if not same[i]],
        }  # fmt: skip
    result = framed.described() | {"works": len(gallery.table), "seed": args.seed, "changes": changed}
    return finish("art_robustness", result, args.out)


def _check_agreement(framed: Framed, gallery: Gallery, files: Sequence[Path], places: np.ndarray) -> None:
    again = framed.embed(files, framed.pixels, "unchanged")
    agreement = float(np.median(np.einsum("ij,ij->i", gallery.centred(again), gallery.rows[places])))
    if agreement < AGREES:
        raise SystemExit(f"the embeddings are not of this encoder and framing: works embedded anew agree with their "
                         f"rows to {agreement:.3f} only; run `embed` again")  # fmt: skip


# -- kinds of art ------------------------------------------------------------------------------------------------------


def kinds(args: argparse.Namespace) -> dict[str, Any]:
    """A linear head on the kinds of art objects, for each way to bring a picture to a square."""
    table = read_table(args.art / "kinds" / "artworks.csv", ("path", "kind", "split"))
    files = [args.art / "kinds" / row["path"] for row in table]
    classes, kind = np.unique([row["kind"] for row in table], return_inverse=True)
    train, val = (np.array([row["split"] == part for row in table]) for part in ("train", "val"))
    framings = {}
    for resize in [args.resize] if args.resize else FRAMINGS:
        framed = opened(args.encoder, resize, args.size)
        rows = framed.embed(files, framed.pixels, f"{args.encoder}: {resize}")
        guess = linear_head(rows[train], kind[train], rows[val])
        f1 = {"macro_f1": lambda m: metrics.macro(m).f1}
        framings[resize] = {
            "accuracy": share(int((guess == kind[val]).sum()), int(val.sum())),
            "macro_f1": intervals.estimate_confusion(f1, kind[val], guess, len(classes))["macro_f1"].to_dict(),
            "recall": {str(name): round(float((guess == kind[val])[kind[val] == code].mean()), 4)
                       for code, name in enumerate(classes) if (kind[val] == code).any()},
        }  # fmt: skip
    own = opened(args.encoder, args.resize, args.size)
    result = own.described() | {"train": int(train.sum()), "val": int(val.sum()), "framings": framings}
    return finish("art_kinds", result, args.out)


# -- the two origins ---------------------------------------------------------------------------------------------------


def origin(args: argparse.Namespace) -> dict[str, Any]:
    """How well a linear probe tells how a work was made square: on all works, and within artist and genre."""
    stored = read_embeddings(args.file)
    gallery = Gallery.of(stored, args.art)
    column = {key: gallery.column(key) for key in ("origin", "artist", "genre", "split")}
    known = np.isin(column["origin"], ("squashed", "letterboxed"))
    letterboxed = (column["origin"] == "letterboxed").astype(np.int64)
    artist = codes(column["artist"])
    train, val = (known & (column["split"] == part) for part in ("train", "val"))
    if not val.any():
        raise SystemExit(f"{args.file} holds no val work of a known origin; run `embed --only wikiart` into it")
    guess = linear_head(gallery.rows[train], letterboxed[train], gallery.rows[val])
    # five styles are letterboxed and eleven are not: on all works a network that knows styles knows the origin
    same_artist = matched(artist, letterboxed, known)
    same_genre = matched(codes(column["artist"], column["genre"]), letterboxed, known & (column["genre"] != ""))
    probes = {
        "all works": probed(letterboxed[val], guess, artist[val]),
        "matched within artist": probed_by_folds(gallery.rows, letterboxed, artist, same_artist),
        "matched within artist and genre": probed_by_folds(gallery.rows, letterboxed, artist, same_genre),
    }
    return finish("art_origin", stored.described() | {"chance": 0.5, "probes": probes}, args.out)


# -- photographs and reproductions -------------------------------------------------------------------------------------


def museum(args: argparse.Namespace) -> dict[str, Any]:
    """Which photographs of paintings and which reproductions find another work first, and what they find."""
    files = []
    for path in args.files:
        stored = read_embeddings(path)
        gallery = Gallery.of(stored, args.art)
        shown = sorted(name for name in stored.place if name.startswith("pairs/museum/"))
        photos = [name for name in shown if Path(name).stem == "photo"]
        walls = [name for name in shown if Path(name).stem == "reproduction"]
        pairs = [("pairs/reproductions/" + row["query"], "wikiart/" + row["work"])
                 for row in read_table(args.art / "pairs/reproductions/pairs.csv", ("query", "work"))]  # fmt: skip
        here = {gallery.path(i) for i in range(len(gallery.table))}
        asked = {
            "photograph": [(name, str(Path(name).parent / "reproduction.jpg")) for name in photos],
            "reproduction": [(query, work) for query, work in pairs if query in stored.place and work in here],
        }
        tasks = {
            "photograph": first_found(gallery, walls, asked["photograph"], args.art),
            "reproduction": first_found(gallery, [], asked["reproduction"], args.art),
        }
        if not any(tasks.values()):
            raise SystemExit(f"{path} holds no photographs or reproductions; run `embed --only pairs` into it")
        files.append(stored.described() | {"works": len(gallery.table), "tasks": {k: v for k, v in tasks.items() if v}})
    return finish("art_museum", {"files": files}, args.out)


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Images a second of the encoders alone, round by round in turn; seconds to a first embedding in a new process."""
    table = read_table(args.art / "wikiart" / "artworks.csv", ("path",))
    files = [args.art / "wikiart" / row["path"] for row in table[:: max(1, len(table) // args.works)][: args.works]]
    names = {f"{place}: {name}": name for place, name in enumerate(args.encoders, 1)}
    framed = {key: opened(name, None, None) for key, name in names.items()}
    pixels = {key: np.stack([each.pixels(file) for file in files]) for key, each in framed.items()}

    def forward(key: str) -> None:
        for start in range(0, len(files), SPEED_BATCH):
            framed[key].encoder.embed_images(pixels[key][start : start + SPEED_BATCH])

    def cold(key: str) -> float:
        done = subprocess.run([sys.executable, "-c", COLD, names[key]], capture_output=True, text=True, check=True)
        return float(done.stdout)

    with at_most(SPEED_THREADS) as threads:
        seconds = interleaved(args.rounds, {key: partial(timed, partial(forward, key)) for key in names})
        first = interleaved(args.rounds, {key: partial(cold, key) for key in names})
    leader = next(iter(names))
    encoders = [
        each.described() | {
            "images_per_s": round(len(files) / float(np.median(seconds[key])), 2),
            "ratio_to_first": ratio(seconds[leader], seconds[key]),
            "cold_s": round(float(np.median(first[key])), 3),
            "weights_bytes": each.weights_bytes(), "seconds": seconds[key], "cold_seconds": first[key],
        } for key, each in framed.items()
    ]  # fmt: skip
    result = {"images": len(files), "batch": SPEED_BATCH, "threads": threads, "encoders": encoders}
    return finish("art_speed", {"machine": machine()} | result, args.out)


@contextmanager
def at_most(threads: int) -> Iterator[int]:
    """Cores to use, at most so many: onnxruntime takes as many threads as there are cores that it may use."""
    if not hasattr(os, "sched_setaffinity"):  # only Linux can be told
        yield usable_cores()
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield usable_cores()
    finally:
        os.sched_setaffinity(0, before)


# -- what is shown -----------------------------------------------------------------------------------------------------


def report(args: argparse.Namespace) -> None:
    """One Markdown table of results, the yardstick's among them; with --art its shares have intervals."""
    columns = ("split", "artist", "genre", "origin", "new_artist")
    works = read_table(args.art / "wikiart" / "artworks.csv", columns) if args.art else None
    print(art_report.table(args.files, works))


def finish(name: str, result: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """Prints the results, and writes them where that was asked for."""
    packages = {
        package: version(package) for package in ("simsearch", "numpy", "onnxruntime", "pillow", "scikit-learn")
    }
    whole = {"benchmark": name, "cores": machine()["cores"], "versions": packages, **result}
    text = json.dumps(whole, indent=2)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    return whole


def smoke(art: Path | None) -> None:
    """Every command with the encoder without weights, on a set made of a few painted works."""
    from art_embeddings import make_small_set

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        if art is None:
            art = place / "painted"
            paint(art)
        make_small_set(art / "wikiart", place / "art")
        shared = ["--art", str(place / "art")]
        rows = str(place / "color.npz")
        for only in ("pairs,kinds", "wikiart,pairs,kinds"):  # the second run goes on where the first ended
            main(["embed", "color", *shared, "--out", rows, "--only", only])
        runs = {
            "robustness": ["color", "--embeddings", rows, "--works", "6"],
            "kinds": ["color"],
            "origin": [rows],
            "museum": [rows],
            "speed": ["color", "color", "--rounds", "1", "--works", "20"],
        }
        for name, more in runs.items():
            main([name, *more, *shared, "--out", str(place / f"{name}.json")])
        main(["report", *(f"color={place / name}.json" for name in runs), *shared])


if __name__ == "__main__":
    main()
