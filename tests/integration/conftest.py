"""Fixtures only: the made-up sites of the trainer's tests."""

from support.made_up_sites import site_values, start_s, trainer_config, write_history

__all__ = ["site_values", "start_s", "trainer_config", "write_history"]
