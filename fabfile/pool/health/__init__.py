"""Findings about a pool: what is wrong with it, which parts are missing, and the fixes."""
