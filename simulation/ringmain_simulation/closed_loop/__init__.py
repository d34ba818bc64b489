"""The agent's calculations in a closed loop with recorded load: a site and a year come in, violations and costs leave."""

__all__: list[str] = []
