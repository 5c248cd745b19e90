"""From files to batches: manifests, preparation, sampling, loading. Knows nothing of models."""
