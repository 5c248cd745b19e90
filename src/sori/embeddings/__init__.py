"""Word vectors: files, arithmetic, spoken words, points for the projector."""
