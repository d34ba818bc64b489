"""The gateway installs little: the `[agent]` extra alone, in a fresh environment, is small, complete and runs."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from servers.base import wait_until

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "config"
CONSTRAINTS = str(ROOT / "constraints.txt")
SIZE_MAX_MB = 180
NOT_ON_A_GATEWAY = ["sklearn", "pandas", "scipy", "confluent_kafka", "polars", "onnx", "deltalake", "pytest"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder `bin` of a fresh environment with `ringmain[agent]` in it, from the wheel."""
    folder = tmp_path_factory.mktemp("gateway")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    wheel = folder / f"ringmain-{version('ringmain')}-py3-none-any.whl"
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", f"{wheel}[agent]")
    return python.parent


def run(*command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run with the constraints, without this environment's packages; another exit status fails and shows the output."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment["PIP_CONSTRAINT"] = environment["PIP_BUILD_CONSTRAINT"] = CONSTRAINTS
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def test_the_wheel_holds_every_package_with_all_its_modules_and_types(gateway: Path) -> None:
    """A package that the build does not name works in every checkout and is missing on every gateway."""
    wheel = next(gateway.parent.parent.glob("ringmain-*.whl"))
    held = set(zipfile.ZipFile(wheel).namelist())
    packages = [marker.parent for marker in ROOT.glob("*/ringmain_*/py.typed")]
    assert {package.name for package in packages} >= {"ringmain_protocol", "ringmain_program", "ringmain_model"}
    files = {file for package in packages for file in (*package.rglob("*.py"), package / "py.typed")}
    assert {file.relative_to(file_root(file)).as_posix() for file in files} - held == set()


def file_root(file: Path) -> Path:
    """The folder of a part, such as `agent`, in which its package stands."""
    return ROOT / file.relative_to(ROOT).parts[0]


def test_the_agent_checks_its_sample_configuration(gateway: Path) -> None:
    run(str(gateway / "ringmain-agent"), "check", "--config", str(CONFIG / "agent.toml"))


def test_the_agent_refuses_a_configuration_and_says_why(gateway: Path, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('sight = "abc"\n')
    done = run(str(gateway / "ringmain-agent"), "check", "--config", str(tmp_path / "site.toml"), status=78)
    assert "sight: unknown key; did you mean `site`?" in done.stderr


def test_the_agent_runs_without_any_neighbor_and_ends_when_asked(gateway: Path, tmp_path: Path) -> None:
    text = (CONFIG / "agent.toml").read_text().replace("mqtt.example.net", "127.0.0.1").replace('ca_file = "ca.pem"', "")
    (tmp_path / "agent.toml").write_text(text.replace("port = 8883", "port = 9"))
    log = tmp_path / "agent.log"
    with log.open("wb") as output:
        agent = subprocess.Popen(
            [str(gateway / "ringmain-agent"), "run", "--config", str(tmp_path / "agent.toml")], stdout=output, stderr=output
        )
        try:
            wait_until(lambda: "agent plan" in log.read_text() or agent.poll() is not None, what="a plan")
            assert agent.poll() is None, log.read_text()
            agent.terminate()
            assert agent.wait(20) == 0
        finally:
            agent.kill()
    assert "is not reachable" in log.read_text()


def test_the_installed_agent_is_small(gateway: Path) -> None:
    packages = next((gateway.parent / "lib").glob("python3.*/site-packages"))
    sizes: dict[str, int] = {}
    for path in packages.rglob("*"):
        if path.is_file() and not path.is_symlink():
            top = path.relative_to(packages).parts[0]
            sizes[top] = sizes.get(top, 0) + path.stat().st_size
    counted = {name: size for name, size in sizes.items() if not name.startswith(("pip", "setuptools", "pkg_resources"))}
    largest = sorted(counted.items(), key=lambda item: -item[1])[:6]
    total_mb = sum(counted.values()) / 1e6
    print(f"[agent] without pip and setuptools: {total_mb:.0f} MB; largest {largest}")
    assert total_mb < SIZE_MAX_MB


def test_nothing_of_the_central_side_is_installed(gateway: Path) -> None:
    code = f"import importlib.util as u; print(*[m for m in {NOT_ON_A_GATEWAY} if u.find_spec(m)])"
    assert run(str(gateway / "python"), "-c", code).stdout.strip() == ""


@pytest.mark.parametrize(
    ("program", "arguments", "extra"),
    [
        ("ringmain-bridge", ["run", "--config", str(CONFIG / "bridge.toml")], "bridge"),
        ("ringmain-trainer", ["ingest", "--once", "--config", str(CONFIG / "trainer.toml")], "trainer"),
        ("ringmain-simulate", ["demo"], "demo"),
    ],
)
def test_a_program_whose_packages_are_missing_names_the_extra(
    gateway: Path, program: str, arguments: list[str], extra: str
) -> None:
    command = [str(gateway / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert f"ringmain[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_installed_fits_together(gateway: Path) -> None:
    run(str(gateway / "python"), "-m", "pip", "check")
