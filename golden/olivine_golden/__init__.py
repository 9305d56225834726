"""Olivine's executable specification: a bit-exact integer model of every unit, and float references."""
