"""Read folders of recordings in the layouts in which public corpora and toolkits distribute them, one file for each."""
