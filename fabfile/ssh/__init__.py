"""SSH: `machine` connects, `transport` and `channel` carry, `known_hosts` verifies, `failure` explains."""
