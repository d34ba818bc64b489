"""Training on a real Dask cluster: the very models that processes of this machine make, and no site stops another."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ringmain_trainer.errors import TrainerError
from ringmain_trainer.training.journal import instant
from ringmain_trainer.training.train_fleet import train
from ringmain_trainer.workers import run_all
from servers.base import HOST, free_port
from servers.dask import DaskCluster
from support.histories import made_up_site, model_hashes, put_site, quick_config
from support.poison import square_or_die

NOW = instant(1_795_000_000_000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Two workers of one thread each."""
    with DaskCluster(tmp_path_factory.mktemp("dask")) as started:
        yield started


def test_a_cluster_makes_the_very_models_that_processes_make(cluster: DaskCluster, tmp_path: Path) -> None:
    for number in range(2):
        put_site(tmp_path / "history", f"site-{number}", made_up_site(25, number))
    put_site(tmp_path / "history", "site-2", made_up_site(3, 3))
    config = quick_config(tmp_path, jobs=2)
    found = []
    for address in ("", cluster.address):
        results = train(config, now=NOW, dask=address)
        found.append(([(r.site, r.trained, r.reason, r.metrics) for r in results], model_hashes(Path(config.candidates))))
        shutil.rmtree(config.candidates)
    assert found[0] == found[1]
    assert len(found[0][1]) == 2


def test_a_worker_that_dies_costs_its_own_task_only(cluster: DaskCluster) -> None:
    outcomes = {o.number: o for o in run_all(partial(square_or_die, fatal=5), range(12), dask=cluster.address)}
    assert {number for number, o in outcomes.items() if o.value == number * number} == set(range(12)) - {5, 6}
    assert outcomes[5].reason.startswith("its process was killed")
    assert outcomes[6].reason == "ValueError: 6 cannot be squared"


def test_a_cluster_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringmain_trainer.workers._DASK_CONNECT_S", 1)
    address = f"tcp://{HOST}:{free_port()}"
    with pytest.raises(TrainerError, match=f"no Dask scheduler answers at {address}"):
        list(run_all(abs, [1], dask=address))
