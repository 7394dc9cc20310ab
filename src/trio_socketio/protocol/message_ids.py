"""Ids of messages."""

from typing import Final

BACKEND_PREFIX: Final = "backend:"
"""Begins ids that only the backend may give (DELIV-49).

Clients tell a copy from a new message by its id alone. Whoever could guess the next id of the
backend could send a message with it first, and that of the backend would pass for a copy.
"""
