"""Grammar engines: from a constraint to the mask of legal tokens at each position."""
