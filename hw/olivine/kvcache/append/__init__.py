"""The append path: rows of keys and values on their way into the cache's pages."""
