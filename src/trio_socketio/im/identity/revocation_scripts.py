"""The Lua scripts that change the hash of revocations, each in one step.

All of them have the key of the hash, and as their first arguments a field, the channel on which
changes are published, and an epoch for the case that there is no hash.

None of them takes a revocation out before it is over. A lift leaves the time up to which it has
lifted (IDENT-91), so that nobody has to conclude from what is missing that it was lifted.
"""

from typing import Final

_BEGIN: Final = """
local key, field, channel = KEYS[1], ARGV[1], ARGV[2]
local head = redis.call('HGET', key, '')
local epoch, version, count
if head then
  epoch, version, count = string.match(head, '^(%S+) (%d+) (%d+)$')
  if not epoch then
    return redis.error_reply('FOREIGN ' .. key .. ' is not a hash of revocations')
  end
  version, count = tonumber(version), tonumber(count)
elseif redis.call('EXISTS', key) == 1 then
  return redis.error_reply('FOREIGN ' .. key .. ' is not a hash of revocations')
else
  epoch, version, count = ARGV[3], 0, 0
end
local function write(value, more)
  count = count + more
  if value then
    version = version + 1
    redis.call('HSET', key, field, cmsgpack.pack(value))
    redis.call('PUBLISH', channel, cmsgpack.pack({epoch, version, field, value}))
  end
  redis.call('HSET', key, '', string.format('%s %d %d', epoch, version, count))
end
local raw = redis.call('HGET', key, field)
"""

TAKE_KEY: Final = (
    _BEGIN
    + """
-- a key for the names of tokens, which is taken if there is none
if not raw then
  raw = ARGV[4]
  redis.call('HSET', key, field, raw)
  write(nil, 0)
end
return {epoch, version, raw}
"""
)

_READ: Final = """
-- at, until, and the tokens without a date: 0, 0 and none if no revocation is in force;
-- the time up to which revocations were lifted, and until when one of them would have lasted
local kept = raw and cmsgpack.unpack(raw) or {0, 0, {}, 0, 0}
local at, till = tonumber(ARGV[4]), tonumber(ARGV[5])
"""

ADD: Final = (
    _BEGIN
    + _READ
    + """
-- the bound, and tokens without a date
if at <= kept[4] then  -- it was lifted meanwhile
  return {1, epoch, version, cmsgpack.pack(kept)}
end
local bound, undated, known = tonumber(ARGV[6]), {}, {}
local needed, changed = raw and 0 or 1, at > kept[1] or till > kept[2]
at, till = math.max(at, kept[1]), math.max(till, kept[2])
for _, id in ipairs(kept[3]) do
  undated[#undated + 1], known[id] = id, true
end
for i = 7, #ARGV do
  if not known[ARGV[i]] then
    undated[#undated + 1], known[ARGV[i]] = ARGV[i], true
    needed, changed = needed + 1, true
  end
end
if needed > 0 and count + needed > bound then
  return {0, epoch, version}
end
if changed then
  write({at, till, undated, kept[4], kept[5]}, needed)
end
return {1, epoch, version, cmsgpack.pack({at, till, undated, kept[4], kept[5]})}
"""
)

LIFT: Final = (
    _BEGIN
    + _READ
    + """
-- of the revocation that is to be lifted: a later one stays (IDENT-92)
if at > kept[4] then
  local more = raw and 0 or 1
  if kept[1] <= at then
    more, till = more - #kept[3], math.max(till, kept[2])
    kept[1], kept[2], kept[3] = 0, 0, {}
  end
  kept[4], kept[5] = at, math.max(till, kept[5])
  write(kept, more)
end
return {epoch, version}
"""
)

DROP: Final = (
    _BEGIN
    + """
-- the value that is over; nobody has to be told
if raw and raw == ARGV[4] then
  redis.call('HDEL', key, field)
  write(nil, -1 - #cmsgpack.unpack(raw)[3])
end
return {1, epoch, version}
"""
)
