"""Testbenches of the whole core."""
