"""What every part of a serving program stands on: user code and its failures."""
