"""Decode class scores to text: greedy, beam search, forced alignment, confidence, transcript formats."""
