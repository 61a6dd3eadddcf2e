"""The benchmark of how long a run takes to start makes its runs as `ablate` does, so it must change with them."""

from experiments.benchmarks import startup


def test_a_run_starts_in_the_grid_and_from_the_shell(monkeypatch):
    monkeypatch.setattr(startup, "RUNS", 1)
    monkeypatch.setattr(startup, "SHELL_RUNS", 1)
    measured = startup.run()
    assert 0 < measured["seconds"]["startup_per_run"] <= measured["seconds"]["slowest"]
    assert measured["seconds"]["cold"] > 0 and measured["memory_mb"]["own_per_kernel"] > 0
