"""From two texts, or a recogniser and recordings, to error rates, a comparison and a page."""
