"""Loop pools: on two backing files."""
