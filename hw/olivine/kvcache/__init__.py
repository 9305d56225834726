"""The cache of keys and values: which blocks of memory are free, and who shares them."""
