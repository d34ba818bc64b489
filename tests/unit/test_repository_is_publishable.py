"""The repository can be given to a stranger: it names no machine, ships its data with a license, and says how to start."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = ["agent", "bridge", "trainer"]

FOREIGN = (
    r"(?<![\w.])/(work|root|home)/",  # folders of one machine
    r"\bpypi\.org|pythonhosted|repo\d?\.maven|maven\.apache\.org/maven2|deb\.debian\.org|index-url|extra-index",
    r"find-links|trusted-host",
)


def tracked() -> list[Path]:
    """Every file that git has or would add."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git repository")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_constraints_are_plain_names_and_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert len(set(names)) == len(names)
    assert not {"pip", "setuptools", "wheel", "ringmain"} & set(names)


def test_every_dependency_is_constrained() -> None:
    constrained = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *PYPROJECT["build-system"]["requires"]]
    wanted += [item for extra in project["optional-dependencies"].values() for item in extra]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", item)[0]).lower() for item in wanted}
    assert names - constrained == {"ringmain"}


def test_every_dependency_has_a_lower_bound_and_all_but_calendars_an_upper_one() -> None:
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *PYPROJECT["build-system"]["requires"]]
    wanted += [item for extra in project["optional-dependencies"].values() for item in extra]
    bounded = re.compile(r"[a-z0-9-]+>=[\d.]+,<[\d.]+|tzdata>=[\d.]+|ringmain\[[a-z,]+\]")  # tzdata: newer is only truer
    assert [item for item in wanted if not bounded.fullmatch(item)] == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    pattern = re.compile("|".join(FOREIGN))
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path == Path(__file__):
            continue
        found += [f"{path.relative_to(ROOT)}: {line}" for line in text.splitlines() if pattern.search(line)]
    assert found == []


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_sample_configuration(part: str) -> None:
    assert (ROOT / "deploy" / "config" / f"{part}.toml").is_file()


def test_the_data_that_ships_is_small_and_has_its_license_next_to_it() -> None:
    folder = ROOT / "simulation" / "ringmain_simulation" / "data"
    tables = list(folder.glob("*.csv.gz"))
    assert tables
    assert sum(path.stat().st_size for path in tables) < 700_000
    notice = (folder / "LICENSE.md").read_text()
    assert all(path.name in notice for path in tables)
    assert all(word in notice for word in ("Source: ", "Copyright: ", "SPDX: "))


def test_the_import_contracts_of_the_design_are_there() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    layers = next(item["layers"] for item in contracts if item["type"] == "layers" and "containers" not in item)
    assert layers[0] == "ringmain_simulation"
    assert "ringmain_agent | ringmain_bridge | ringmain_trainer" in layers
    sources = [source for item in contracts if item["type"] == "forbidden" for source in item["source_modules"]]
    assert {
        "ringmain_simulation",
        "ringmain_protocol",
        "ringmain_agent.control",
        "ringmain_agent.planning.plan",
    } <= set(sources)
    assert any(item.get("containers") == ["ringmain_agent"] for item in contracts)


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "git clone" in readme
    assert "make demo" in readme


def markdown() -> list[Path]:
    """Every page of the repository but CHANGELOG, which also names what is gone."""
    return [path for path in tracked() if path.suffix == ".md" and path.name != "CHANGELOG.md"]


def code_in(page: Path) -> list[str]:
    """Words in code format: between backticks, fenced, or indented."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^ *```.*?^ *```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4}.*", text, re.MULTILINE)
    spans = re.findall(r"`[^`\n]+`", text)
    return re.findall(r"[\w./*{},:-]+", "\n".join(fenced + indented + spans))


def test_every_python_file_that_a_page_names_exists() -> None:
    """A page that names a file which has moved sends its reader into the void."""
    python = [path.relative_to(ROOT).as_posix() for path in tracked() if path.suffix == ".py"]
    missing = []
    for page in markdown():
        for word in code_in(page):
            name = word.split("::")[0].strip(".,:/")
            if not name.endswith(".py") or name == ".py":
                continue
            pattern = re.compile(r"(?:.*/)?" + re.escape(name).replace(r"\*", "[^/]*") + r"\Z")
            if not any(pattern.match(path) for path in python):
                missing.append(f"{page.relative_to(ROOT)}: {name}")
    assert not missing, "\n".join(missing)


def test_every_module_that_a_page_names_exists() -> None:
    """A dotted name is a module, or something in one: `ringmain_protocol.messages.decode`."""
    roots = {path.parent.name: path.parents[1] for path in ROOT.glob("*/ringmain_*/__init__.py")}
    missing = []
    for page in markdown():
        for word in code_in(page):
            match = re.match(r"(ringmain_[a-z]+)(\.\w+)+", word)
            if match is None or match[1] not in roots or word.endswith(".py"):
                continue
            names = match[0].split(".")
            sources = [
                (source, names[end:])
                for end in range(len(names), 0, -1)
                for source in (
                    roots[match[1]].joinpath(*names[:end]).with_suffix(".py"),
                    roots[match[1]].joinpath(*names[:end], "__init__.py"),
                )
                if source.is_file()
            ]
            source, attributes = sources[0]
            text = source.read_text(encoding="utf-8")
            if not all(re.search(rf"\b{attribute}\b", text) for attribute in attributes):
                missing.append(f"{page.relative_to(ROOT)}: {match[0]}")
    assert not missing, "\n".join(missing)


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):(.*)$", makefile, re.MULTILINE)
    assert [name for name, rest in targets if "## " not in rest and name != "help"] == []
    documented = {name for name, _ in targets}
    assert {"setup", "demo", "test", "test-fast", "check", "fix", "lock", "build"} <= documented


def test_no_test_folder_is_a_package_and_nothing_imports_from_conftest() -> None:
    tests = ROOT / "tests"
    assert [path for path in tests.rglob("__init__.py") if path.parent.name not in {"servers", "chaos", "support"}] == []
    pattern = re.compile(r"^\s*(from|import) +(tests\.)?conftest\b", re.MULTILINE)
    assert [path for path in tests.rglob("*.py") if pattern.search(path.read_text())] == []
