"""The benchmark of training runs the real command on a history that it makes, and says what it cost."""

from pathlib import Path

from benchmarks.training import measure


def test_the_benchmark_trains_every_site_that_it_makes(tmp_path: Path) -> None:
    found = measure(tmp_path, 2, 30, 1)
    assert (found["sites"], found["failed"], found["days"]) == (2, 0, 30)
    assert min(found[name] for name in ("seconds_per_site", "cpu_s_per_site", "rss_mb_max", "model_bytes", "latency_ms")) > 0
