"""The whole product under clients that come and go in every way, and whether anything grows."""
