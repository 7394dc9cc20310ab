"""The runtime of a serving program: poller, deadlines, listeners, and the barrier for user code."""
