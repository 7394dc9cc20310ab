-- Tells what the leases are, and which boots that are dead may have something left. It writes, so that
-- it fails when renewals fail: while nobody can renew a lease, none of them ends (RSTORE-36).
local leases = redis.call('HGETALL', LEASES)
for number = 2, #leases, 2 do
  if not read_lease(leases[number]) then
    return refuse(LEASES, 'has a field of others')
  end
end
redis.call('HSET', META, 'watched', 1)
return answer('OK', leases, redis.call('ZRANGEBYSCORE', DEAD, 0, 0, 'LIMIT', 0, 100), milliseconds())
