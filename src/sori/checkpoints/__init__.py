"""Models on disk: model folders, lookup by name, conversion between formats."""
