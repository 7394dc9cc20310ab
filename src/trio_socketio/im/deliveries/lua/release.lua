-- Ends the lease of a node, so that others take its deliveries. ARGV: the number of the node.

redis.call('ZADD', LEASES, 'XX', 0, ARGV[1])
return {'RELEASED'}
