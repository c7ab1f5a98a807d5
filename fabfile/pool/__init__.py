"""Thin pools: what they have in common, and the variants."""
