"""Shipped to users: Hypothesis strategies, given/when/then for the machine, and the suite every store passes."""
