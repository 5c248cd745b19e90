"""Make micro-batches from utterances, texts and images, as a pure function of seed and step."""
