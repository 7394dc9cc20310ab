"""What makes the server an IM server: who its users are, and what they may do."""
