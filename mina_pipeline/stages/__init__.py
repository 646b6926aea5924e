"""What a stage is, the standard ones, and who does their work: providers, offline or a model."""
