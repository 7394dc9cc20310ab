"""What runs a serving program: the poller, deadlines, listeners, and the barrier for user code."""
