"""The notebooks run as they stand and still say what is stored in them."""

import math
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NAMES = ("model_training", "model_evaluation")
BYTES_MAX = 400_000
PICTURE = "image/svg+xml"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
APART_MAX = 0.02
"""Numbers may differ so much between machines: sums of other libraries, other splits in trees."""


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def texts(notebook: Any) -> list[str]:
    """What every cell said in words, in order."""
    found = []
    for cell in notebook.cells:
        said = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])]
        pictures = sum(PICTURE in output.get("data", {}) for output in cell.get("outputs", []))
        found.append("pictures: 1" if pictures else "".join(said))
    return found


def apart(expected: str, actual: str) -> bool:
    """Whether two texts differ in words, or in a number by more than rounding explains."""
    words = [" ".join(re.sub(r"[-| ]+", " ", NUMBER.sub("#", text)).split()) for text in (expected, actual)]
    if words[0] != words[1]:
        return True
    pairs = zip(NUMBER.findall(expected), NUMBER.findall(actual), strict=True)
    return not all(math.isclose(float(a), float(b), rel_tol=APART_MAX, abs_tol=APART_MAX) for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stored_pictures_included_and_name_no_machine(name: str) -> None:
    file, notebook = FOLDER / f"{name}.ipynb", read(name)
    content = file.read_text(encoding="utf-8")
    assert len(content) < BYTES_MAX
    assert not re.search(r"/(tmp|work|home|root|usr|Users)/", content)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    assert sum(PICTURE in output.get("data", {}) for output in outputs) >= 3
    silent = [cell.source for cell in notebook.cells if cell.cell_type == "code" and not cell.outputs]
    assert len(silent) <= 2  # imports at the begin, the end
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom_and_says_what_is_stored(name: str) -> None:
    stored = texts(read(name))
    notebook = read(name)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    for cell, expected, actual in zip(notebook.cells, stored, texts(notebook), strict=True):
        assert not apart(expected, actual), f"{cell.source}\n\nstored:\n{expected}\n\nnow:\n{actual}"


def test_a_changed_word_or_number_is_noticed() -> None:
    assert not apart("mae | 2134.849 |", "mae |  2135.1 |")
    assert apart("mae 2134.849", "mae 2334.849")
    assert apart("PROMOTED: 1", "REJECTED: 1")
    assert apart("rows 1", "rows 1 2")
