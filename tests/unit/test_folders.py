"""Walls of the house: every folder has a face, nobody reaches past it, and tests stand at the paths of their modules."""

import ast
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {path.name: path for path in ROOT.glob("*/ringmain_*") if (path / "__init__.py").exists()}
FACES = sorted(path for package in PACKAGES.values() for path in package.glob("*/**/__init__.py"))
UNIT = ROOT / "tests" / "unit"
OF_SEVERAL_MODULES = {
    "agent/test_bad_input.py",  # all stages, from the snapshot to the setpoint
    "agent/test_fallback_levels.py",  # planner, regulator and limits
    "program/test_sample_configurations.py",  # of agent, bridge and trainer
    "protocol/test_readme.py",  # the tables of the page against the messages
    "trainer/export/test_conversions.py",  # of each estimator
    "trainer/quality/test_real_faults.py",
}
"""Unit tests that no single module or folder has."""


def imported(source: str) -> Iterator[str]:
    """Every module or name of ours that a file imports, dotted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def public(face: Path) -> list[str]:
    """The names in `__all__` of a face."""
    for node in ast.parse(face.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(node).startswith("__all__"):
            return list(ast.literal_eval(node.value)) if node.value is not None else []
    raise AssertionError(f"{face.relative_to(ROOT)} has no __all__")


def trespasses(source: str, here: Path) -> Iterator[str]:
    """Imports of a file that reach past the face of a folder it does not stand in."""
    for name in imported(source):
        package, *inside = name.split(".")
        if package not in PACKAGES:
            continue
        folders = [PACKAGES[package]]
        for part in inside:
            folders.append(folders[-1] / part)
        for folder, below in pairwise(folders):
            face = folder / "__init__.py"
            if face in FACES and folder not in here.parents and below.name not in public(face):
                yield f"{name}: {folder.relative_to(ROOT)} does not offer {below.name}"


@pytest.mark.parametrize("face", FACES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_face_has_a_docstring_and_names_and_no_code(face: Path) -> None:
    """The docstring says what enters and what leaves."""
    first, *others = ast.parse(face.read_text()).body
    assert ast.get_docstring(ast.Module([first], [])), "the face says what enters and what leaves"
    assert [ast.unparse(node) for node in others if not isinstance(node, ast.Import | ast.ImportFrom)] == [
        ast.unparse(node) for node in others if ast.unparse(node).startswith("__all__")
    ]
    assert len(public(face)) == len(set(public(face)))


def test_no_file_reaches_past_the_face_of_a_folder() -> None:
    files = [path for package in PACKAGES.values() for path in package.rglob("*.py")]
    assert len(files) > 100
    assert {
        str(path.relative_to(ROOT)): found for path in files if (found := list(trespasses(path.read_text(), path)))
    } == {}


def test_reaching_past_a_face_is_seen() -> None:
    here = PACKAGES["ringmain_agent"] / "outputs" / "status.py"
    hidden = "from ringmain_agent.gateway.hidden import Anything"
    assert list(trespasses(hidden, here)) == [
        "ringmain_agent.gateway.hidden.Anything: agent/ringmain_agent/gateway does not offer hidden"
    ]
    assert list(trespasses("from ringmain_agent.outputs.hidden import Anything", here)) == []


def strays(tests: Iterable[Path]) -> list[str]:
    """Unit tests of a package where it has neither a module nor a folder of that name."""
    found = []
    for test in tests:
        part, *folders = test.relative_to(UNIT).parent.parts
        tested = PACKAGES[f"ringmain_{part}"].joinpath(*folders, test.stem.removeprefix("test_"))
        if not tested.with_suffix(".py").exists() and not (tested / "__init__.py").exists():
            found.append(str(test.relative_to(UNIT)))
    return found


def test_unit_tests_stand_at_the_path_of_the_module_that_they_test() -> None:
    """Who changes a module finds its tests below its name."""
    folders = [UNIT / name.removeprefix("ringmain_") for name in PACKAGES]
    tests = [test for folder in folders for test in folder.rglob("test_*.py")]
    assert len(tests) > 100
    assert sorted(set(strays(tests)) - OF_SEVERAL_MODULES) == []


def test_unit_test_at_another_place_is_seen() -> None:
    right = [UNIT / "agent" / name for name in ("test_exchange.py", "control/test_limits.py", "planning/test_dispatch.py")]
    assert strays([*right, UNIT / "agent" / "test_limits.py"]) == ["agent/test_limits.py"]
