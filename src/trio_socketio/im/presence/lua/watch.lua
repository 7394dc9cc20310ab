-- Tells what the leases are, and which boots that are dead may have something left.
return answer('OK', redis.call('HGETALL', LEASES), redis.call('ZRANGEBYSCORE', DEAD, 0, 0, 'LIMIT', 0, 100))
