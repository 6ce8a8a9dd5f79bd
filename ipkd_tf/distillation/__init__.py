"""Who teaches whom, the objective, the training step."""
