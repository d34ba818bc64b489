"""The witness test: faults by chance against a real agent at simulated sites, and the referee who counts."""

__all__: list[str] = []
