"""Models on disk: our own folders, names and hubs, conversion."""
