"""Who is online, exactly and in order: seats for clients, and the log of who comes and goes."""
