"""Painting91 as published: `Images/` with files ``ALBRECHT_DURER_1.jpg``, and MATLAB 5 files with labels and splits.

The layout that is read, made out from programs that load the published archive, two tasks of four files each:

    Labels/          image_names.mat        labels.mat        trainset.mat        testset.mat
    Labels_Style/    image_names_style.mat  labels_style.mat  trainset_style.mat  testset_style.mat

Each file has one variable, called as the file. ``image_names`` is a cell array of n file names; ``labels`` is n x 91
(``labels_style`` n x 13) with a single 1 in each row, in the column of its class; ``trainset`` and ``testset`` are
masks of n numbers, not 0 where an image belongs to the part. The folders may have other names; a task may be missing.

- The test set is stored as ``val``, in ``artist_split`` and ``style_split``: it is what a head is measured by. An
  image in both sets is held out, which is said; one in neither has no part.
- Images are found by their file name alone, wherever they lie below the folder, whatever case and suffix they have, and
  with or without accents: unpacking garbles the names of one painter.
- The files name no classes. An artist is called as most file names of the class are, in capitals and small letters. The
  styles are those of the paper, in its order, which is that of the columns where others have named them (F. S. Khan et
  al., Painting-91: a large scale database for computational painting categorization, Machine Vision and Applications
  25, 2014). This is said, and ``--classes FILE=style`` or ``FILE=artist`` names either otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsearch.errors import SourceError
from simsearch.indexer.sources.lists import (
    HELD_OUT,
    TRAIN,
    Told,
    counted,
    names_none,
    person,
    read_classes,
    repaired,
    without_suffix,
)
from simsearch.indexer.sources.table import Description

if TYPE_CHECKING:
    from numpy.typing import NDArray

STYLES = (
    "Abstract Expressionism", "Baroque", "Constructivism", "Cubism", "Impressionism", "Neo Classical", "Pop Art",
    "Post Impressionism", "Realism", "Renaissance", "Romanticism", "Surrealism", "Symbolism",
)  # fmt: skip
"""The styles by their column."""
TASKS = {"artist": "", "style": "_style"}
"""Kind of label to what the names of its files end with."""
FILES = ("image_names", "labels", "trainset", "testset")
NAMES = frozenset(f"{name}{end}.mat" for name in FILES for end in TASKS.values())
"""What the files are called."""
NUMBER = re.compile(r"[ _-]*\d+$")


@dataclass(frozen=True, slots=True)
class Task:
    """One task as published: four arrays of n, whether or not the images are there."""

    kind: str
    classes: Mapping[int, str]
    images: tuple[str, ...]
    codes: tuple[int, ...]
    parts: tuple[str, ...]
    """`TRAIN`, `HELD_OUT`, or empty."""


@dataclass(frozen=True, slots=True)
class Painting91:
    """The .mat files that were found, by their names."""

    by_name: Mapping[str, Path]
    class_files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        return (*self.by_name.values(), *self.class_files.values())

    def read(self, root: Path, paths: Iterable[str], told: Told) -> dict[str, Description]:
        """Artist and style of the listed images, each with its part of the official split."""
        has = {kind: [name for name in FILES if f"{name}{end}.mat" in self.by_name] for kind, end in TASKS.items()}
        tasks = [self.task(kind, told) for kind, names in has.items() if names]
        listed: dict[str, Description] = {}
        for task in tasks:
            for name, code, part in zip(task.images, task.codes, task.parts, strict=True):
                said = listed.setdefault(name, {})
                said[task.kind] = task.classes[code]
                if part and said.get(f"{task.kind}_split") != HELD_OUT:
                    said[f"{task.kind}_split"] = part
        paths = list(paths)
        exact, loose = _by_key(paths, _key), _by_key(paths, _plain_key)
        out: dict[str, Description] = {}
        for name, said in listed.items():
            at = exact.get(_key(name)) or loose.get(_plain_key(name), [])
            told.absent += not at
            for path in at:
                out[path] = out.get(path, {}) | said
        if listed and not out:
            told.notes.append(names_none("Painting91's list", root, next(iter(listed)), paths))
        return out

    def task(self, kind: str, told: Told) -> Task:
        """A task as published. Raises SourceError for a missing file or variable, and for arrays that do not fit."""
        import numpy as np

        end = TASKS[kind]
        names, labels, train, test = (self._variable(name + end) for name in FILES)
        images = tuple(_text(cell) for cell in names.ravel())
        file = self.by_name[f"labels{end}.mat"]
        if labels.ndim != 2 or len(labels) != len(images) or not (np.count_nonzero(labels, axis=1) == 1).all():
            raise SourceError(
                f"{file}: labels{end} is {_shape(labels)}, but {len(images)} image names need as many rows with a "
                "single 1 each, in the column of the class; fetch the archive again"
            )
        for name, mask in (("trainset", train), ("testset", test)):
            if mask.size != len(images):
                raise SourceError(
                    f"{self.by_name[f'{name}{end}.mat']}: {name}{end} is {_shape(mask)}, but there are {len(images)} "
                    "image names; fetch the archive again"
                )
        in_train, held_out = train.ravel() != 0, test.ravel() != 0
        if both := int(np.count_nonzero(in_train & held_out)):
            told.remarks.append(
                f"{counted(both, 'image')} in both trainset{end} and testset{end}: what is in both is val"
            )
        codes = tuple(int(code) for code in labels.argmax(axis=1))
        parts = tuple(str(part) for part in np.where(held_out, HELD_OUT, np.where(in_train, TRAIN, "")))
        return Task(kind, self._classes(kind, labels.shape[1], images, codes, told), images, codes, parts)

    def _classes(
        self, kind: str, count: int, images: Iterable[str], codes: Iterable[int], told: Told
    ) -> Mapping[int, str]:
        """Class names by column: those of a class file, of the paper, or made out from the files' names."""
        labels = self.by_name[f"labels{TASKS[kind]}.mat"]
        named = self.class_files.get(kind)
        if named is None and kind == "style":
            told.remarks.append(
                "Painting91's files name no styles, so the thirteen of the paper are taken, in its order"
            )
        if named is not None or kind == "style":
            classes = read_classes(named) if named is not None else dict(enumerate(STYLES))
            if len(classes) != count:
                raise SourceError(
                    f"{labels} has {count} classes, but {named or 'Painting91'} has {len(classes)} {kind}s; name them "
                    f"in a file: --classes FILE={kind}"
                )
            return classes
        called: dict[int, Counter[str]] = {}
        for image, code in zip(images, codes, strict=True):
            called.setdefault(code, Counter())[_artist(image)] += 1
        classes = {code: names.most_common(1)[0][0] for code, names in sorted(called.items())}
        if twice := [name for name, times in Counter(classes.values()).items() if times > 1 or not name]:
            raise SourceError(
                f"the files' names do not tell the artists of {labels} apart ({twice[0]!r}); name them in a file: "
                "--classes FILE=artist"
            )
        return classes

    def _variable(self, name: str) -> NDArray[Any]:
        """The one variable of a file. Raises SourceError where either is missing or cannot be read."""
        from simsearch.indexer.sources.matlab import read_variable

        path = self.by_name.get(f"{name}.mat")
        if path is None:
            beside = next(iter(self.by_name.values()))
            raise SourceError(f"there is no {name}.mat beside {beside}; Painting91 has it, so fetch the archive again")
        try:
            found, names = read_variable(path, name)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
        except NotImplementedError as error:
            raise SourceError(
                f"{path} is in the newer format of MATLAB 7.3; save it again with `save -v7`, as Painting91's are"
            ) from error
        except ValueError as error:
            raise SourceError(f"{path} is no MATLAB file that can be read: {error}; fetch the archive again") from error
        if found is None:
            raise SourceError(
                f"{path} has no variable {name!r}; it has {', '.join(names) or 'none'}. Painting91's files have one, "
                "called as the file"
            )
        return found


def find(files: Iterable[Path], class_files: Mapping[str, Path]) -> Painting91 | None:
    """What is read where these files lie: those of Painting91's by their name, the outermost of each."""
    by_name: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: (len(file.parts), file)):
        if file.name in NAMES:
            by_name.setdefault(file.name, file)
    return Painting91(by_name, class_files) if by_name else None


def complete(found: Painting91) -> bool:
    """Whether a task has all of its files, so that they are Painting91's and not others called alike."""
    return any(all(f"{name}{end}.mat" in found.by_name for name in FILES) for end in TASKS.values())


# -- names of files ----------------------------------------------------------------------------------------------------


def _by_key(paths: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        out[key(path)].append(path)
    return out


def _key(path: str) -> str:
    """A file's name without folder, suffix, case and accents."""
    name = unicodedata.normalize("NFKD", repaired(without_suffix(path.rpartition("/")[2])))
    return "".join(letter for letter in name if not unicodedata.combining(letter)).casefold()


def _plain_key(path: str) -> str:
    """The same without any letter beyond ASCII, for names whose accented letters were garbled beyond repair."""
    return without_suffix(path.rpartition("/")[2]).encode("ascii", "ignore").decode().casefold()


def _artist(image: str) -> str:
    return person(NUMBER.sub("", without_suffix(image)))


def _text(cell: Any) -> str:
    """The text in a cell of a cell array, or in a row of a character matrix."""
    parts = getattr(cell, "ravel", lambda: [cell])()
    return str(parts[0]).strip() if len(parts) else ""


def _shape(array: NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))
