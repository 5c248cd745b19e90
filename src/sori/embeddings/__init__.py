"""Vectors of words: files, arithmetic, spoken words, the projector's points."""
