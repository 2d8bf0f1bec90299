"""Tools: typed functions that a model may call, and the systems that provide them."""
