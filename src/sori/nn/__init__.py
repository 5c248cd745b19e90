"""Parts that know only tensors, shared by several systems."""
