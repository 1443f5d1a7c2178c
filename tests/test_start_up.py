"""What a command imports, because what it does not use is what its user waits for."""

import subprocess
import sys

import click
import numpy as np
import pytest
from labelled_works import clusters, fill

from simsearch.classifier.head import Head, folder_of, save
from simsearch.cli import COMMANDS as COMMAND_HELP
from simsearch.cli import main

SHOW_MODULES = """
import sys
from simsearch.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""
COMMANDS = sorted(COMMAND_HELP)
LIGHTEST = {"simsearch", "simsearch.cli", "simsearch.commands", "simsearch.commands.common", "simsearch.errors"}


@pytest.fixture
def imported(tmp_path):
    """The modules that a process has imported by the end of a command, but those of the standard library."""

    def run(*arguments, cwd=tmp_path):
        asked = [sys.executable, "-c", SHOW_MODULES, *map(str, arguments)]
        done = subprocess.run(asked, cwd=cwd, capture_output=True, text=True, check=True, encoding="utf-8")
        names = done.stderr.splitlines()[-1].split()
        return done.stdout, {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}

    return run


def tops(names):
    return {name.partition(".")[0] for name in names}


@pytest.fixture(scope="module")
def with_click_alone():
    """What `import click` imports, beside what every start of this interpreter does."""
    code = "import click, sys; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return tops(said.split())


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_nothing_beyond_click(imported, with_click_alone, arguments):
    shown, names = imported(*arguments)
    assert shown.startswith("Usage: ")
    ours = {name for name in names if name.partition(".")[0] == "simsearch"}
    asked = {f"simsearch.commands.{arguments[0].replace('-', '_')}"} if len(arguments) == 2 else set()
    shared = {"simsearch.commands.answers"} if arguments[0] in ("search", "similar") else set()
    assert ours == LIGHTEST | asked | shared
    assert tops(names) - with_click_alone == {"simsearch"}


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    context = click.Context(main)
    assert main.list_commands(context) == sorted(COMMAND_HELP)
    for name, said in COMMAND_HELP.items():
        command = main.get_command(context, name)
        assert (command.name, command.help.splitlines()[0]) == (name, said)
    assert main.get_command(context, "indexx") is None


def test_version_imports_nothing_beyond_click(imported, with_click_alone):
    shown, names = imported("--version")
    assert shown == "simsearch 0.1.0\n"
    assert tops(names) - with_click_alone == {"simsearch"}


@pytest.mark.parametrize("form", [[], ["--json"], ["--paths"], ["--where", "style = 'Plain'"]])
def test_a_query_on_a_stored_work_imports_no_model_no_picture_library_and_no_mapper(imported, flags, form):
    shown, names = imported("similar", flags.path("red"), "-k", "1", *form, cwd=flags.folder)
    assert len(shown.splitlines()) in (1, 2)
    heavy = {"onnxruntime", "faiss", "PIL", "torch", "pandas", "requests", "alembic", "filelock", "pyarrow", "sklearn"}
    assert tops(names).isdisjoint(heavy)
    assert not [name for name in names if name.startswith(("sqlalchemy.orm", "simsearch.indexer"))]
    assert "simsearch.encoders.onnx" not in names


def test_a_table_is_laid_out_without_rich(imported, flags):
    shown, names = imported("similar", flags.id["red"], cwd=flags.folder)
    assert "cosine" in shown
    assert "rich" not in tops(names)


def test_classifying_a_stored_work_imports_no_model_and_no_picture_library(imported, flags):
    shown, names = imported("classify", flags.path("red"), "--json", cwd=flags.folder)
    assert len(shown.splitlines()) == 3
    assert tops(names).isdisjoint({"onnxruntime", "faiss", "PIL", "torch", "pandas", "sklearn", "rich", "safetensors"})


@pytest.fixture(scope="module")
def with_head(tmp_path_factory):
    """The folder of a collection whose styles a head knows."""
    folder = tmp_path_factory.mktemp("headed")
    values = ["A", "B"] * 10
    collection, entry = fill(folder, clusters(values), {"style": values, "artist": values})
    weights, none = np.eye(2, 16, dtype=np.float32), np.zeros(0, np.uint64)
    with collection:
        head = Head("style", "style", entry.info, ("A", "B"), weights, np.zeros(2, np.float32), 1.0, 0.5, none, none)
        save(folder_of(collection, entry.info), head)
    return folder


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--threshold", "1"]])
def test_a_head_answers_for_a_stored_work_without_what_trained_it(imported, with_head, form):
    shown, names = imported("classify", "7", *form, cwd=with_head)
    assert "style" in shown
    heavy = {"sklearn", "scipy", "matplotlib", "PIL", "onnxruntime", "faiss", "pandas", "torch", "rich", "alembic"}
    assert tops(names).isdisjoint(heavy | {"filelock", "pyarrow", "requests"})
    assert not [name for name in names if name.startswith(("sqlalchemy.orm", "simsearch.indexer"))]
    assert names.isdisjoint({"simsearch.classifier.train", "simsearch.encoders.onnx", "simsearch.show.sheet"})


def test_labelling_a_collection_imports_no_model_and_nothing_that_trains(imported, with_head):
    shown, names = imported("classify", "--threshold", "1", cwd=with_head)
    assert shown.startswith("style: 0 works ")
    assert tops(names).isdisjoint({"sklearn", "scipy", "matplotlib", "PIL", "onnxruntime", "faiss", "pandas", "torch"})
