"""The offline provider: the four standard stages with no model, no key and no network."""
