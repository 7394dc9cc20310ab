"""Confirmed delivery: messages that their users have to acknowledge, and reports of who has."""
