"""The wheel carries all that an installation needs: code, templates, the example company."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "logistics"
_UNPACK = """
import sys
from pathlib import Path
import strop
from strop.cli.company import unpack
unpack(Path.cwd())
print(Path(strop.__file__).resolve())
"""


def files(folder: Path) -> set[str]:
    """Return the files under a folder, without what running them leaves behind."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".db") and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-q", "-w", str(out), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("strop-*.whl")
    return built


def test_it_holds_every_file_of_the_package_and_of_the_example(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"strop/{name}" for name in files(ROOT / "src" / "strop")}
    expected |= {f"strop/examples/logistics/{name}" for name in files(EXAMPLE)}
    assert {"strop/promote/report.html", "strop/serve/app.py"} <= expected
    assert expected <= names
    assert {n for n in names if not n.startswith(f"{wheel.name.split('-py3')[0]}.dist-info/")} == expected


def test_it_names_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entry = next(n for n in archive.namelist() if n.endswith("dist-info/entry_points.txt"))
        assert "strop = strop.cli:main" in archive.read(entry).decode()
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())


def test_the_demo_finds_its_company_in_an_installation(wheel: Path, tmp_path: Path) -> None:
    installed, project = tmp_path / "installed", tmp_path / "project"
    project.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-c", _UNPACK],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.resolve())
    assert files(project / "logistics") == files(EXAMPLE) - {"strop.toml"}
    assert (project / "strop.toml").read_bytes() == (EXAMPLE / "strop.toml").read_bytes()
