"""From files to batches: manifests, preparation, sampling, loading. Independent of models."""
