"""Engine.IO sessions, and the transports that carry them."""
