"""sori: self-supervised speech representations, from a folder of recordings to a recogniser."""

__version__ = "0.1.0"
