"""N-gram language models: estimation, ARPA files, scoring."""
