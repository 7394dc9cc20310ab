"""The parts of an IM service above Socket.IO. The packages here do not import one another."""
