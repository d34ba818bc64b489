"""Proof of the analysis files: a file with other values than scikit-learn's is refused."""

import pytest

from ringmain_trainer.analysis.day_clusters import cluster_days, cluster_model
from ringmain_trainer.analysis.onnx_files import prove_same
from ringmain_trainer.errors import ExportError
from support.office_load import days_of, office


def test_a_wrong_file_is_refused_by_the_proof() -> None:
    days = days_of(office(30))
    found = cluster_days(days)
    wrong = {"cluster": (found.labels + 1) % 2}
    with pytest.raises(ExportError, match="values of cluster are off in one call"):
        prove_same(cluster_model(found), {"profiles": days.profiles}, wrong)
