-- Renews the lease of a node, and hands it deliveries of nodes whose leases have ended. ARGV: the
-- number of the node (0 if it has none), how long its lease lasts, how many deliveries it takes at a
-- time, until when reports must have ended to be forgotten, how many are kept, and how many are
-- forgotten at a time.
-- Returns KEPT or ENROLLED, the number, how many go on, how many have ended, the size, and what `show`
-- returns of each.

local node, lease, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local oldest, reports, at_once = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local at = now()

local status = 'KEPT'
if not redis.call('ZSCORE', LEASES, node) then
  node = string.format('%.0f', redis.call('HINCRBY', TOTALS, 'nodes', 1))
  status = 'ENROLLED'
end
redis.call('ZADD', LEASES, at + lease, node)

local taken = {}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', at)) do
  local left = redis.call('ZRANGEBYSCORE', OPEN, other, other, 'LIMIT', 0, most - #taken)
  for _, key in ipairs(left) do
    redis.call('ZADD', OPEN, node, key)
    table.insert(taken, show(key))
  end
  if redis.call('ZCOUNT', OPEN, other, other) == 0 then
    redis.call('ZREM', LEASES, other)
  end
  if #taken >= most then
    break
  end
end

for _, key in ipairs(redis.call('ZRANGEBYSCORE', ENDED, '-inf', oldest, 'LIMIT', 0, at_once)) do
  forget(key)
end
local over = math.min(redis.call('ZCARD', ENDED) - reports, at_once)
if over > 0 then
  for _, key in ipairs(redis.call('ZRANGE', ENDED, 0, over - 1)) do
    forget(key)
  end
end
return {status, node, redis.call('ZCARD', OPEN), redis.call('ZCARD', ENDED), size(), taken}
