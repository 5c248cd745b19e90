"""Characters, word pieces and edit distance."""
