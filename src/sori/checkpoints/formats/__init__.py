"""File formats of other libraries."""
