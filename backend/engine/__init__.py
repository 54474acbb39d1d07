"""The local engine: scheduler, prefix cache, memory, sampler, grammars and models."""
