"""Read what users bring: recordings, tables, corpora, annotations, texts, images."""
