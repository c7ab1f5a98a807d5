"""Steps and actions that are not about a pool, one file per noun: what is wanted, and the plan that gets there."""
