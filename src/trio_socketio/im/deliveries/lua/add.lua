-- Keeps a delivery. ARGV: key, head, users, args, size, number of users, number of the node, how many
-- may go on, how many bytes all may take, when it expires.
-- Returns ADDED; KNOWN and what `show` returns; FULL and which bound was met; or GONE if the node has
-- no lease, and so nobody would attend to it.

local key, args, own, node = ARGV[1], ARGV[4], tonumber(ARGV[5]), ARGV[7]
local most, most_bytes = tonumber(ARGV[8]), tonumber(ARGV[9])

if redis.call('HEXISTS', HEADS, key) == 1 then
  return {'KNOWN', show(key)}
end
if not redis.call('ZSCORE', LEASES, node) then
  return {'GONE'}
end
if redis.call('ZCARD', OPEN) >= most then
  return {'FULL', 'max_open'}
end
local needed = own + #args
while size() + needed > most_bytes do
  local oldest = redis.call('ZRANGE', ENDED, 0, 0)[1]
  if not oldest then
    return {'FULL', 'max_bytes'}
  end
  forget(oldest)
end
redis.call('HSET', HEADS, key, ARGV[2])
redis.call('HSET', USERS, key, ARGV[3])
redis.call('HSET', ARGS, key, args)
redis.call('HSET', SIZES, key, own)
redis.call('HSET', LEFT, key, ARGV[6])
redis.call('ZADD', NAMES, 0, key)
redis.call('ZADD', OPEN, node, key)
redis.call('ZADD', EXPIRIES, ARGV[10], key)
resize(needed)
return {'ADDED'}
