"""Run trained models: transcripts, alignments, vectors, discrete units, masked language models."""
