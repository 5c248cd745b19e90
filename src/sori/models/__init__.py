"""Models, one file for each paper; their protocols; the factory that builds a model from its configuration."""
