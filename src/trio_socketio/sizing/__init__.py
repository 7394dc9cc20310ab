"""How large a server or a cluster has to be for a load: pure arithmetic on measured costs."""
