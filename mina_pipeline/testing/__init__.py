"""Shipped to users: Hypothesis strategies, given/when/then for the machine, the suites that stores and budgets pass, a
fake OpenAI server with a model that answers truthfully, and the simulation."""
