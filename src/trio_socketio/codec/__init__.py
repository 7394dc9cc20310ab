"""Pure functions between bytes and values. Nothing here does I/O or asks for the time."""
