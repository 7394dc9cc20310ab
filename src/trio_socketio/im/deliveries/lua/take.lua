-- Renews the lease of a node, and hands it deliveries of nodes whose leases have ended, and those that
-- have expired long ago: the node that has added them was not told so, and does not attend to them.
-- ARGV: the number of the node (0 if it has none), how long its lease lasts, how many deliveries it
-- takes at a time, until when reports must have ended to be forgotten, how many are kept, how many are
-- forgotten at a time, how many users the deliveries may have that it takes, if they are more than
-- one, the time, after what time "long ago" begins, and a name for the data if it has none yet.
-- Returns KEPT or ENROLLED, the number, how many go on, how many have ended, the size, the name of the
-- data, and what `show` returns of each.

local node, lease, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local oldest, reports, at_once = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local users, time, late = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local at = now()

local born = redis.call('HGET', TOTALS, 'born')
if not born then
  born = ARGV[10]
  redis.call('HSET', TOTALS, 'born', born)
end
local status = 'KEPT'
if not redis.call('ZSCORE', LEASES, node) then
  node = string.format('%.0f', redis.call('HINCRBY', TOTALS, 'nodes', 1))
  status = 'ENROLLED'
end
redis.call('ZADD', LEASES, at + lease, node)

local function targets(key)
  return redis.call('HLEN', answers(key)) + tonumber(redis.call('HGET', LEFT, key) or '0')
end

local taken = {}
local function hand_out(key)
  users = users - targets(key)
  if #taken >= most or (#taken > 0 and users < 0) then
    return false
  end
  redis.call('ZADD', OPEN, node, key)
  table.insert(taken, show(key))
  return true
end

local has_room = true
for _, other in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', at)) do
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', OPEN, other, other, 'LIMIT', 0, most)) do
    has_room = hand_out(key)
    if not has_room then
      break
    end
  end
  if not has_room then
    break
  end
  if redis.call('ZCOUNT', OPEN, other, other) == 0 then
    redis.call('ZREM', LEASES, other)
  end
end
if has_room then
  local overdue = redis.call('ZRANGEBYSCORE', EXPIRIES, '-inf', time - late, 'LIMIT', 0, most)
  for _, key in ipairs(overdue) do
    if not hand_out(key) then
      break
    end
    redis.call('ZADD', EXPIRIES, time, key)  -- not again at once
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
return {status, node, redis.call('ZCARD', OPEN), redis.call('ZCARD', ENDED), size(), born, taken}
