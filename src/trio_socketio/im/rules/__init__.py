"""What clients may do: events and rooms by pattern and by token, and how often."""
