"""Pure state machines of the protocol. Time is an argument, in seconds on the caller's clock."""
