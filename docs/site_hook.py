"""The documentation site shows the repository as it stands: each page and file keeps its path, so links hold in both.

MkDocs calls `on_files`. The pages of the API reference are made here, one for each part, from the faces of its packages.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).parents[1]
SHOWN: Final = (
    "*.md",
    "LICENSE",
    "*/README.md",
    "deploy/**/*.md",
    "deploy/config/*",
    "deploy/prometheus/*.yml",
    "docs/**/*.md",
    "docs/**/*.ipynb",
    "docs/*.css",
    "simulation/ringmain_simulation/data/LICENSE.md",
    "tests/chaos/README.md",
)
PARTS: Final = ("protocol", "agent", "bridge", "trainer", "simulation")
WITH_MODULES: Final = "ringmain_protocol"
"""The package of which every module is shown, because a second implementation needs all of it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files below `docs/` by those of the repository that the site shows, under their own paths."""
    shown = [
        file for file in files if file.abs_src_path is None or not Path(file.abs_src_path).is_relative_to(ROOT / "docs")
    ]
    paths = sorted({path for pattern in SHOWN for path in ROOT.glob(pattern) if path.is_file()})
    shown += [File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)) for path in paths]
    shown += [File.generated(config, f"docs/reference/{part}.md", content=reference(part)) for part in PARTS]
    return Files(shown)


def reference(part: str) -> str:
    """The reference page of a part: the face of each of its packages."""
    blocks = "\n\n".join(f"::: {name}" for name in names(part))
    return f"# Reference: {part}\n\n[What it is and how it is used](../../{part}/README.md)\n\n{blocks}\n"


def names(part: str) -> Iterator[str]:
    """Packages of a part, and the modules of the one that shows them."""
    for face in sorted((ROOT / part).rglob("__init__.py")):
        package = face.parent.relative_to(ROOT / part).as_posix().replace("/", ".")
        yield package
        if package == WITH_MODULES:
            yield from (
                f"{package}.{module.stem}" for module in sorted(face.parent.glob("*.py")) if module.stem != "__init__"
            )
