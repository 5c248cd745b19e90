"""Use trained models: transcripts, vectors, units, filled masks."""
