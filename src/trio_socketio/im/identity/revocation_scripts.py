"""The Lua scripts that change the hash of revocations, each in one step.

All of them have the key of the hash, and as their first arguments a field, the channel on which
changes are published, and an epoch for the case that there is no hash.
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
    if value == '' then
      redis.call('HDEL', key, field)
    else
      redis.call('HSET', key, field, cmsgpack.pack(value))
    end
    local told = value == '' and {epoch, version, field} or {epoch, version, field, value}
    redis.call('PUBLISH', channel, cmsgpack.pack(told))
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

ADD: Final = (
    _BEGIN
    + """
-- at, until, the bound, and tokens without a date
local before = raw and cmsgpack.unpack(raw)
local at, till, bound = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local undated, known, needed, changed = {}, {}, 1, true
if before then
  needed, changed = 0, at > before[1] or till > before[2]
  at, till = math.max(at, before[1]), math.max(till, before[2])
  for _, id in ipairs(before[3]) do
    undated[#undated + 1], known[id] = id, true
  end
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
  write({at, till, undated}, needed)
end
return {1, epoch, version, cmsgpack.pack({at, till, undated})}
"""
)

LIFT: Final = (
    _BEGIN
    + """
if raw then
  write('', -1 - #cmsgpack.unpack(raw)[3])
end
return {raw and 1 or 0, epoch, version}
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
