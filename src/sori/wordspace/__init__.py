"""Word vectors, wherever they come from: search, files, expressions."""
