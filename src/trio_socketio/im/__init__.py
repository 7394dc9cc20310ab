"""What an IM service needs above Socket.IO. The packages in here do not import one another."""
