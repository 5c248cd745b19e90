"""Turn rows into micro-batches, as a pure function of seed and step."""
