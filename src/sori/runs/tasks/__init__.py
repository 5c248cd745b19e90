"""Build what the training loop needs, one file per kind of data."""
