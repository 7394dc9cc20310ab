"""The base of the state tables."""

from enum import Enum


class Name(Enum):
    """A state or an input of a table, hashed by its identity.

    The hash of Enum is written in Python and takes 0.2 us, and each look-up in a table needs it.
    """

    __hash__ = object.__hash__
