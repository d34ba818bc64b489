"""What a process that opens model files cannot do; each limit in a real process, and the rest of the work unhindered."""

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

ENOUGH_S: Final = 60.0
BEGIN: Final = """if True:
    import os, resource, signal, sys, time
    from pathlib import Path
    from ringmain_model.confinement import FILE_BYTES_MAX, MODEL_BYTES, WORK_BYTES, Memory, confine, die_with_parent
"""


def run_confined(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=ENOUGH_S,
    )


def test_models_have_their_share_of_memory_and_leave_the_rest(tmp_path: Path) -> None:
    program = """
    memory = Memory(models=1)
    def fits(size):
        try:
            return bool(bytearray(size))
        except MemoryError:
            return False
    memory.for_a_model()
    print(fits(MODEL_BYTES), fits(2 * MODEL_BYTES))
    memory.for_all()
    print(fits(2 * MODEL_BYTES), fits(2 * MODEL_BYTES + 2 * WORK_BYTES))"""
    assert run_confined(program, tmp_path).stdout.split() == ["True", "False", "True", "False"]


def test_endless_work_ends_after_its_processor_time(tmp_path: Path) -> None:
    done = run_confined("\n    confine(cpu_s=1)\n    while True: pass", tmp_path)
    assert done.returncode < 0


def test_file_grows_to_the_limit_only(tmp_path: Path) -> None:
    program = f"""
    confine()
    with open({str(tmp_path / "large")!r}, "wb") as file:
        file.truncate(FILE_BYTES_MAX)
        try:
            file.truncate(FILE_BYTES_MAX + 1)
        except OSError as error:
            print(error.strerror)"""
    assert run_confined(program, tmp_path).stdout == "File too large\n"


def test_working_directory_is_empty_and_stays_so(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("secret")
    program = """
    confine()
    print(os.listdir("."), Path("key.pem").exists(), resource.getrlimit(resource.RLIMIT_CORE))
    try:
        open("new", "w")
    except OSError:
        print("nothing can be put there")"""
    assert run_confined(program, tmp_path).stdout == "[] False (0, 0)\nnothing can be put there\n"
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_where_no_directory_can_be_made_the_process_goes_on(tmp_path: Path) -> None:
    program = """
    import tempfile
    tempfile.tempdir = "/dev/null/no"
    confine()
    print("confined")"""
    assert run_confined(program, tmp_path).stdout == "confined\n"


def test_stricter_limits_of_the_system_stay(tmp_path: Path) -> None:
    program = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))
    confine()
    Memory().for_all()
    print(resource.getrlimit(resource.RLIMIT_FSIZE), resource.getrlimit(resource.RLIMIT_AS)[0] >> 20)"""
    assert run_confined(program, tmp_path).stdout == "(1000, 1000) 900\n"


def test_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    program = """
    import subprocess
    inner = "import time; from ringmain_model.confinement import *; die_with_parent(); print(1, flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)"""
    pid = int(run_confined(program, tmp_path).stdout)
    end_s = time.monotonic() + ENOUGH_S
    while _is_alive(pid):
        assert time.monotonic() < end_s
        time.sleep(0.005)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU])
def test_the_process_of_the_tests_is_not_confined(kind: int) -> None:
    """The limits are for children that end; none of them may reach the process that controls."""
    import ringmain_model.confinement  # noqa: F401, PLC0415  the import alone

    assert resource.getrlimit(kind)[0] == resource.getrlimit(kind)[1]
