"""Pure state machines of the protocol; time is an argument, in seconds on the caller's clock."""
