"""Testbenches of what all engines share."""
