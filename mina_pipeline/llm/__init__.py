"""Calls of a model, guarded: deadline, retry, circuit breaker, budget and receipts."""
