"""Leaves that everything may import: audio, batches, configuration, processes, seeds, shapes, files."""
