"""Who a client is: what verifies its token, and what ends when the token does."""
