"""Which keys of a real text survive in a small cache, and what that costs: ``olivine run --cache-demo``."""
