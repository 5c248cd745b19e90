"""Read the users' data: recordings, tables, corpora, annotations, texts, images."""
