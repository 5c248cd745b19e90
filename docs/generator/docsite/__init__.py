"""Parts of the documentation's generator that belong to this project."""
