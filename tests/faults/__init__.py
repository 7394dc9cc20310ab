"""What happens to a cluster when its Redis fails, with real connections and a real server."""
