"""Shipped to users: Hypothesis strategies, given/when/then for the machine, the suites that stores, budgets and live
transports pass, a fake OpenAI server with a model that answers truthfully, and the simulation."""
