"""What holds for all documents: length, links, words, and figures that have a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import DOCUMENTS, ROOT, blocks, prose

from strop import __version__

PAGES = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
# In pieces, so that a search for them does not find this file.
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "T" + "BD", "X" + "XX", "lorem" + " ipsum", "coming" + " soon")
PROMISES = ("seamless", "blazing", "cutting-edge", "effortless", "revolution", "state-of-the-art")
# An absolute path belongs to somebody's machine; a URL's path does not.
ABSOLUTE = re.compile(r"(?<![\w.:/>~*-])/(?!v1/|chat/)\w+/")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@PAGES
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        assert "://" not in target, f"a link that no test can follow: {target}"
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


@PAGES
def test_pages_are_finished_plain_and_of_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not [w for w in (*UNFINISHED, *PROMISES) if w.casefold() in text.casefold()]
    assert not ABSOLUTE.findall(text)
    assert text.startswith("# ") and text.endswith("\n")


@PAGES
def test_commands_and_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|tests|benchmarks|docs|examples)/[\w./-]*\w)[` ]", text):
        assert (ROOT / name).exists(), name


def test_the_readme_is_short_and_its_first_screen_has_what_it_must() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150
    first = "\n".join(lines[:40])
    assert "make demo" in first and "make test" in first
    assert "stands in" in first and "terms" in first


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / t.partition("#")[0]).resolve() for t in re.findall(r"\]\(([^)\s]+)\)", readme)}
    assert linked >= {page for page in DOCUMENTS if page.name != "README.md"}


def test_contributing_is_two_pages_and_draws_the_house_as_it_stands() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.split()) < 1000 and len(text.splitlines()) < 110
    drawn = set(re.findall(r"^  (\w+)(?:/|\.py)  ", text, re.MULTILINE))
    package = ROOT / "src" / "strop"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert drawn == rooms | {path.stem for path in package.glob("*.py") if path.stem != "__init__"}


def test_contributing_shows_the_import_direction_that_is_enforced() -> None:
    enforced = re.search(r"layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.DOTALL)
    assert enforced
    layers = "\n".join(re.findall(r'"([^"]+)"', enforced.group(1)))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert layers in {block.strip() for block in blocks(text, "")}


def test_the_changelog_has_this_version() -> None:
    assert f"## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_measured_figures_have_their_results() -> None:
    notes = (ROOT / "benchmarks" / "NOTES.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(results/[\w./-]+)`", notes))
    kept = {f"results/{path.name}" for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert named - {"results/"} == kept
