-- Renews the lease of a node, and hands it deliveries of nodes whose leases have ended. ARGV: the
-- number of the node (0 if it has none), how long its lease lasts, how many deliveries it takes at a
-- time, until when reports must have ended to be forgotten, how many are kept, how many are forgotten
-- at a time, and how many users the deliveries may have that it takes, if they are more than one.
-- Returns KEPT or ENROLLED, the number, how many go on, how many have ended, the size, and what `show`
-- returns of each.

local node, lease, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local oldest, reports, at_once = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local users = tonumber(ARGV[7])
local at = now()

local status = 'KEPT'
if not redis.call('ZSCORE', LEASES, node) then
  node = string.format('%.0f', redis.call('HINCRBY', TOTALS, 'nodes', 1))
  status = 'ENROLLED'
end
redis.call('ZADD', LEASES, at + lease, node)

local function targets(key)
  return redis.call('HLEN', answers(key)) + tonumber(redis.call('HGET', LEFT, key) or '0')
end

local taken, is_full = {}, false
for _, other in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', at)) do
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', OPEN, other, other, 'LIMIT', 0, most)) do
    users = users - targets(key)
    is_full = #taken >= most or (#taken > 0 and users < 0)
    if is_full then
      break
    end
    redis.call('ZADD', OPEN, node, key)
    table.insert(taken, show(key))
  end
  if is_full then
    break
  end
  if redis.call('ZCOUNT', OPEN, other, other) == 0 then
    redis.call('ZREM', LEASES, other)
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
