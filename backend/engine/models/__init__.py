"""Models: the native decoder family, any other causal LM of transformers, and how their weights are read."""
