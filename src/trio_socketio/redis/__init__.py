"""A connection to Redis: commands, messages and scripts."""
