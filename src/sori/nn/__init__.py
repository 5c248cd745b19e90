"""Network parts and losses that several models share; tensors in, tensors out."""
