"""Pure functions between bytes and values; time, ids and I/O are somebody else's."""
