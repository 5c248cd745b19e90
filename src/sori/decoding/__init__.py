"""From class scores to text."""
