"""The codes of errors on the control socket."""

from enum import IntEnum


class Code(IntEnum):
    """The codes of errors: those of the standard are negative, ours are positive.

    Codes between TIMEOUT and DRAINING that are not raised here are for methods that need a store.
    """

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    UNAUTHORIZED = 1001
    FORBIDDEN = 1002
    NOT_FOUND = 1003
    PARTIAL = 1004
    TIMEOUT = 1005
    OVERLOADED = 1006
    STORE_UNAVAILABLE = 1007
    CURSOR_EXPIRED = 1008
    GENERATION_CHANGED = 1009
    EXISTS = 1010
    TOO_LARGE = 1011
    DRAINING = 1012
    UNAVAILABLE = 1013
    INVALID_CONFIGURATION = 1014
