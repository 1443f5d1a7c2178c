"""What is installed: one top-level name, all of the program in it, and a command that runs in a clean environment."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("indexer", "classifier", "cli.py")
BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


def copy_of_the_project(to):
    """The project as a checkout has it, its links kept, without what only lies around in this one."""
    listed = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    aside = shutil.ignore_patterns(".git", *(line.rstrip("/") for line in listed if line and not line.startswith("/")))
    return Path(shutil.copytree(ROOT, to, symlinks=True, ignore=aside))


def build(kind, project, to):
    to.mkdir(exist_ok=True)
    asked = [sys.executable, "-c", BUILD, f"build_{kind}", str(to)]
    done = subprocess.run(asked, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    here = tmp_path_factory.mktemp("wheel")
    return build("wheel", copy_of_the_project(here / "checkout"), here / "dist")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    here = tmp_path_factory.mktemp("sdist")
    return build("sdist", copy_of_the_project(here / "checkout"), here / "dist")


def sources(*folders):
    """Python files of the checkout below these folders, as the package names them."""
    found = {f"simsearch/{path.relative_to(ROOT)}" for folder in folders for path in (ROOT / folder).rglob("*.py")}
    return {name.replace("simsearch/simsearch/", "simsearch/") for name in found}


def test_the_wheel_installs_exactly_one_top_level_name(wheel):
    with zipfile.ZipFile(wheel) as file:
        tops = {name.partition("/")[0] for name in file.namelist()}
    assert tops == {"simsearch", "simsearch-0.1.0.dist-info"}


def test_the_wheel_holds_every_module_as_a_real_file(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        links = [entry.filename for entry in file.infolist() if (entry.external_attr >> 16) & 0o170000 == 0o120000]
        assert file.read("simsearch/cli.py") == (ROOT / "cli.py").read_bytes()
    modules = {name for name in names if name.endswith(".py")}
    assert links == []
    assert modules == sources("simsearch", "indexer", "classifier") | {"simsearch/cli.py"}
    assert {"simsearch/indexer/run.py", "simsearch/indexer/sources/folder.py"} <= modules
    assert {"simsearch/classifier/neighbours.py", "simsearch/catalog/migrations/env.py"} <= modules
    assert [name for name in modules if name.startswith("simsearch/catalog/migrations/versions/0001")]
    assert "simsearch/py.typed" in names
    assert not [name for name in names if name.startswith(("simsearch/tests", "simsearch/docs")) or ".pyc" in name]


def test_the_wheel_says_what_it_needs_and_what_it_may_be_used_for(wheel):
    with zipfile.ZipFile(wheel) as file:
        said = Parser().parsestr(file.read("simsearch-0.1.0.dist-info/METADATA").decode())
        points = file.read("simsearch-0.1.0.dist-info/entry_points.txt").decode()
        assert file.read("simsearch-0.1.0.dist-info/licenses/LICENSE").startswith(b"MIT License")
    assert (said["Name"], said["License-Expression"], said["Requires-Python"]) == ("simsearch", "MIT", ">=3.11")
    assert points.split() == ["[console_scripts]", "simsearch", "=", "simsearch.cli:main"]
    needed = [line for line in said.get_all("Requires-Dist") if "extra ==" not in line]
    assert not [line for line in needed if line.startswith(("torch", "pandas", "pyarrow"))]


def test_the_source_archive_builds_the_same_wheel(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (project,) = tmp_path.iterdir()
    assert {path.name for path in project.iterdir()} >= {"simsearch", "tests", "docs", "pyproject.toml", "LICENSE"}
    assert (project / "simsearch" / "indexer" / "run.py").is_file()
    again = build("wheel", project, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        ours = [name for name in first.namelist() if name.startswith("simsearch/")]
        assert sorted(ours) == sorted(name for name in second.namelist() if name.startswith("simsearch/"))
        assert [name for name in ours if first.read(name) != second.read(name)] == []


@pytest.mark.slow
def test_the_wheel_runs_in_a_clean_environment(wheel, tmp_path, flag):
    def run(*arguments, status=0):
        kept = {"PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in kept or name.startswith("PIP_") or name.lower().endswith("_proxy")
        }
        done = subprocess.run([*map(str, arguments)], cwd=elsewhere, capture_output=True, text=True, env=environment,
                              timeout=600, check=False)  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "pictures").mkdir(parents=True)
    for code in ("rrrr", "rrry", "bbcc"):
        flag(code, (64, 64)).save(elsewhere / "pictures" / f"{code}.png")
    scripts = tmp_path / "clean" / ("Scripts" if os.name == "nt" else "bin")
    run(sys.executable, "-m", "venv", tmp_path / "clean")
    run(scripts / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel)
    simsearch = scripts / "simsearch"
    assert run(simsearch, "--help").startswith("Usage: simsearch ")
    assert run(simsearch, "--version") == "simsearch 0.1.0\n"
    assert run(simsearch, "index", "pictures").startswith(
        "3 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 0 failed"
    )
    paths = run(simsearch, "similar", "pictures/rrrr.png", "--paths").splitlines()
    assert [Path(path).stem for path in paths] == ["rrry", "bbcc"]
    home = run(scripts / "python", "-c", "import simsearch.indexer.run as r; print(r.__file__)").strip()
    assert Path(home).is_relative_to(tmp_path / "clean")
    (site,) = (tmp_path / "clean").rglob("site-packages")
    assert not [name for name in ("cli", *LINKED, "tests", "docs") if (site / name).exists()]


# -- a checkout without links ------------------------------------------------------------------------------------------


@pytest.fixture
def linkless(tmp_path):
    """A checkout as a system without symbolic links has it: each link is a small text file that names its target."""
    project = copy_of_the_project(tmp_path / "checkout")
    for name in LINKED:
        link = project / "simsearch" / name
        target = os.readlink(link)  # noqa: PTH115
        link.unlink()
        link.write_text(target)
    return project


@pytest.mark.parametrize(
    "start", [["-c", "import simsearch"], ["-m", "simsearch", "--help"], ["-c", "import simsearch.cli"]]
)
def test_a_checkout_without_links_fails_with_a_sentence(linkless, start):
    done = subprocess.run([sys.executable, *start], cwd=linkless, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "SyntaxError" not in done.stderr
    assert "simsearch/indexer should be a symbolic link to ../indexer, but this checkout has no links" in done.stderr
    assert "git config core.symlinks true" in done.stderr


def test_the_links_of_this_checkout_are_relative(tmp_path):
    for name in LINKED:
        link = ROOT / "simsearch" / name
        assert link.is_symlink()
        assert os.readlink(link) == f"../{name}"  # noqa: PTH115
