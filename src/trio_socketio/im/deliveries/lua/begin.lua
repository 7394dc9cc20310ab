-- What every script about deliveries begins with. Times are milliseconds since 1970, those of leases
-- on the clock of Redis, all others on the clocks of nodes.
--
-- KEYS: heads, users, args, sizes, left, confirmed, names, open, ended, totals, leases,
-- expiries
--
-- heads, users, args  KEY -> JSON; args only while the delivery goes on
-- sizes      KEY -> about how many bytes it takes, without its arguments
-- left       KEY -> how many users have not confirmed
-- confirmed  begins the name of a hash for each delivery that somebody has confirmed, and ":" KEY
--            follows: user -> when the user has confirmed
-- names      all keys, each with the score 0
-- open       the keys of those that go on -> the number of the node that attends to it
-- ended      the keys of the others -> when it has ended
-- totals     "size", "nodes"
-- leases     the number of a node -> until when it is taken to live
-- expiries   the keys of those that go on -> when they expire
-- KEY is NAMESPACE "\0" ID.

local HEADS, USERS, ARGS, SIZES, LEFT = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local CONFIRMED, NAMES, OPEN, ENDED, TOTALS, LEASES, EXPIRIES =
  KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]

local function size()
  return tonumber(redis.call('HGET', TOTALS, 'size') or '0')
end

local function resize(by)
  redis.call('HINCRBY', TOTALS, 'size', string.format('%.0f', by))
end

local function finish(key, at)
  if redis.call('ZREM', OPEN, key) == 1 then
    redis.call('ZREM', EXPIRIES, key)
    redis.call('ZADD', ENDED, at, key)
    resize(-redis.call('HSTRLEN', ARGS, key))
    redis.call('HDEL', ARGS, key)
  end
end

local function answers(key)
  return CONFIRMED .. ':' .. key
end

-- It costs the same however many users there are: nobody else is served meanwhile (DELIV-47).
local function forget(key)
  redis.call('UNLINK', answers(key))
  resize(-tonumber(redis.call('HGET', SIZES, key) or '0'))
  for _, hash in ipairs({HEADS, USERS, SIZES, LEFT}) do
    redis.call('HDEL', hash, key)
  end
  redis.call('ZREM', NAMES, key)
  redis.call('ZREM', ENDED, key)
end

-- Returns the head, the users, the arguments, when it has ended, and the users who have confirmed,
-- each followed by when that was.
local function show(key)
  return {
    redis.call('HGET', HEADS, key), redis.call('HGET', USERS, key),
    redis.call('HGET', ARGS, key) or '', redis.call('ZSCORE', ENDED, key) or '',
    redis.call('HGETALL', answers(key)),
  }
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
