"""The ArtGAN project's WikiArt as published: a folder a style, file names ``artist-name_title-words.jpg``, and lists.

Lists ``style_train.csv``, ``style_val.csv`` and the same for genre and artist hold lines ``path,class index`` without a
header; ``style_class.txt`` and its like hold ``0 Abstract_Expressionism``. Both may be gzipped. They are found by these
names, at any depth. What is made of them:

- Each task keeps its own official split, as ``style_split`` and its like: ``train`` or ``val``.
- A listed path means the file of that name; where it is not there, one that differs by its suffix alone. The folder of
  styles may lie anywhere below the folder that is indexed. Listed images that are not there are counted.
- An image in both parts of a task is held out (``val``): nothing may be learned from what is measured by. An image with
  two classes of a task gets neither. Both are said.
- An image that no list names gets its folder's style, by the name that the style list has for that folder, and no part
  of a split.
- Artist and title come from the file's name. An artist list goes before it, and so does the name that the list has for
  the same artist in other files, so that no artist goes by two names. Letters that were garbled are put right in names,
  never in paths. ``not_detected`` is no title.
- Where a class file is missing, styles are called as their folders, artists as in file names, and genres as ArtGAN has
  them, which is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from simsearch.errors import SourceError
from simsearch.indexer.sources.lists import (
    HELD_OUT,
    TRAIN,
    Images,
    Told,
    class_of,
    counted,
    listed_path,
    names_none,
    person,
    read_classes,
    read_rows,
    readable,
    repaired,
    without_suffix,
)
from simsearch.indexer.sources.table import Description

TASKS = ("style", "genre", "artist")
GENRES = (
    "abstract painting", "cityscape", "genre painting", "illustration", "landscape", "nude painting", "portrait",
    "religious painting", "sketch and study", "still life",
)  # fmt: skip
"""ArtGAN's genres by index: the file that names them is gone from where the lists are published."""
PLAIN_NAMES = (*(f"{task}_{part}.csv" for task in TASKS for part in ("train", "val")),
               *(f"{task}_class.txt" for task in TASKS))  # fmt: skip
NAMES = frozenset(name + packed for name in PLAIN_NAMES for packed in ("", ".gz"))
"""What the lists and class files are called."""
GENRES_IN = "ArtGAN's list of genres"
NO_TITLE = "not_detected"


@dataclass(frozen=True, slots=True)
class Task:
    """One task as its lists have it, read completely, whether or not the images are there."""

    kind: str
    classes: Mapping[int, str]
    rows: tuple[tuple[str, int, str], ...]
    """(path, class index, `TRAIN` or `HELD_OUT`) of each line, in the order of the lists."""

    def names(self) -> dict[str, str]:
        """Path to class name; empty where the lists give an image two."""
        out: dict[str, str] = {}
        for path, index, _ in self.rows:
            name = self.classes[index]
            if out.setdefault(path, name) != name:
                out[path] = ""
        return out

    def parts(self) -> dict[str, str]:
        """Path to the part that an image is in; `HELD_OUT` where it is in both."""
        return {path: TRAIN for path, _, part in self.rows if part == TRAIN} | {
            path: HELD_OUT for path, _, part in self.rows if part == HELD_OUT
        }

    def agreed(self, key: Callable[[str], str]) -> dict[str, str]:
        """Folder or artist, by `key` of a path, to the one class that all of its images have."""
        names = defaultdict[str, set[str]](set)
        for path, name in self.names().items():
            names[key(path)].add(name)
        return {what: next(iter(found)) for what, found in names.items() if len(found) == 1}


@dataclass(frozen=True, slots=True)
class WikiArt:
    """The layout with the lists that were found for it, perhaps none."""

    by_name: Mapping[str, Path] = field(default_factory=dict)
    """One of `PLAIN_NAMES` to the file."""
    class_files: Mapping[str, Path] = field(default_factory=dict)
    """Kind to a class file that was named for it, in place of the one beside the lists."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        return (*self.by_name.values(), *self.class_files.values())

    def read(self, root: Path, paths: Iterable[str], told: Told) -> dict[str, Description]:
        """What lists, folders and file names say of the images in the layout."""
        paths = list(paths)
        tasks = {kind: task for kind in TASKS if (task := self.task(kind, told)) is not None}
        listed: dict[str, Description] = defaultdict(dict)
        for kind, task in tasks.items():
            for path, name in task.names().items():
                listed[path][kind] = name
            for path, part in task.parts().items():
                listed[path][f"{kind}_split"] = part
        images, found = Images(paths, 2), dict[str, Description]()
        for path, said in listed.items():
            at = images.find(path)
            told.absent += not at
            found |= dict.fromkeys(at, said)
        if listed and not found:
            told.notes.append(names_none("ArtGAN's lists", root, next(iter(listed)), paths))
        styles = tasks["style"].agreed(_folder) if "style" in tasks else {}
        artists = tasks["artist"].agreed(_artist) if "artist" in tasks else {}
        bases = _bases(paths, found, {_folder(path) for path in listed})
        out = {}
        for path in paths:
            if path in found or (_folder(path) and (_base(path) in bases or not listed)):
                said = _by_name(path, styles, artists) | found.get(path, {})
                out[path] = {column: text for column, text in said.items() if text}
        return out

    def task(self, kind: str, told: Told) -> Task | None:
        """A task as published, or None where there is no list of it. Raises SourceError for a bad list."""
        classes, classes_in = self._classes(kind)
        rows: list[tuple[str, int, str]] = []
        for part in (TRAIN, HELD_OUT):
            file = self.by_name.get(f"{kind}_{part}.csv")
            for line, cells in read_rows(file) if file else ():
                assert file is not None
                index = class_of(cells[-1], classes, file, line, classes_in)
                path = listed_path(",".join(cells[:-1]), file, line, told)
                if path is not None:
                    rows.append((path, index, part))
        if not rows:
            return None
        task = Task(kind, classes or _classes_by_files(kind, rows), tuple(rows))
        if classes_in == GENRES_IN:
            told.remarks.append("there is no genre_class.txt beside the genre lists, so ArtGAN's ten genres are taken")
        told.remarks += _remarks(task)
        return task

    def _classes(self, kind: str) -> tuple[dict[int, str], str]:
        """(classes by index, what names them); no class where they have to be made out from the files' names."""
        file = self.class_files.get(kind) or self.by_name.get(f"{kind}_class.txt")
        if file is not None:
            return read_classes(file), str(file)
        return (dict(enumerate(GENRES)), GENRES_IN) if kind == "genre" else ({}, "")


def find(files: Iterable[Path], class_files: Mapping[str, Path], told: Told) -> WikiArt | None:
    """The layout with those of these files that are ArtGAN's by their name; None where no list is among them.

    Of several with one name the outermost counts, and the first of these by its path.
    """
    by_name: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: (len(file.parts), file)):
        name = file.name.removesuffix(".gz")
        if file.name in NAMES and by_name.setdefault(name, file) != file:
            told.remarks.append(f"{file} is left aside, because {by_name[name]} is read")
    return WikiArt(by_name, class_files) if any(name.endswith(".csv") for name in by_name) else None


def _classes_by_files(kind: str, rows: Iterable[tuple[str, int, str]]) -> dict[int, str]:
    """The classes of lists without a class file, called as the folders or artists of their images are.

    Raises SourceError where a class has images of several.
    """
    key, name = (_folder, readable) if kind == "style" else (_artist, _person)
    found: dict[int, str] = {}
    for path, index, _ in rows:
        if found.setdefault(index, key(path)) != key(path):
            raise SourceError(
                f"there is no {kind}_class.txt beside the {kind} lists, and class {index} has images of both "
                f"{found[index]!r} and {key(path)!r}, so nothing says what it is called; put the class file beside "
                f"the lists, or name one: --classes FILE={kind}"
            )
    return {index: name(found[index]) for index in sorted(found)}


def _remarks(task: Task) -> Iterator[str]:
    """Sentences about images that the lists of a task say two things of."""
    twice = {path for path, _, part in task.rows if part == TRAIN}
    twice &= {path for path, _, part in task.rows if part == HELD_OUT}
    if twice:
        yield (
            f"the {task.kind} lists have {counted(len(twice), 'image')} in both train and val, such as {min(twice)}; "
            "what is in both counts as val"
        )
    if doubtful := [path for path, name in task.names().items() if not name]:
        yield (
            f"the {task.kind} lists give {counted(len(doubtful), 'image')} two classes, such as {min(doubtful)}; what "
            f"has two gets no {task.kind}"
        )


# -- what paths say ----------------------------------------------------------------------------------------------------


def _bases(paths: Iterable[str], found: Iterable[str], folders: set[str]) -> set[str]:
    """Folders whose subfolders are the styles: those that hold a listed image, or a folder that lists name."""
    return {_base(path) for path in found} | {_base(path) for path in paths if _folder(path) in folders}


def _by_name(path: str, styles: Mapping[str, str], artists: Mapping[str, str]) -> Description:
    """Style, artist and title, as folder and file are called; without what the name does not say."""
    folder, artist = _folder(path), _artist(path)
    words = without_suffix(path.rpartition("/")[2]).partition("_")[2]
    title = "" if words.startswith(NO_TITLE) else " ".join(repaired(words).replace("-", " ").split())
    return {
        "style": styles.get(folder) or readable(folder),
        "artist": artists.get(artist) or _person(artist),
        "title": title,
    }


def _base(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[0]


def _folder(path: str) -> str:
    """The folder that an image lies in, by its own name; empty at the top."""
    return path.rpartition("/")[0].rpartition("/")[2]


def _artist(path: str) -> str:
    """What a file's name has before the first underscore; empty without one."""
    before, underscore, _ = path.rpartition("/")[2].partition("_")
    return before if underscore else ""


def _person(slug: str) -> str:
    return person(slug.replace("-", " "))
