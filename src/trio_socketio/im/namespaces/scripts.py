"""The Lua scripts that change the hash of definitions, each in one step.

The field without a name has the head: the epoch, which is drawn when the hash is made, the revision
of the last change, how many definitions there are, and how many bytes they have together. Every
other field is a namespace, with its revision, its birth and its definition as JSON. The birth is
the epoch and the revision at which it was made, so one that was made again has another.
"""

from typing import Final

_BEGIN: Final = """
local key, channel = KEYS[1], ARGV[1]
local head = redis.call('HGET', key, '')
local epoch, revision, count, size
if head then
  epoch, revision, count, size = string.match(head, '^(%S+) (%d+) (%d+) (%d+)$')
  if not epoch then
    return redis.error_reply('FOREIGN ' .. key .. ' is not a hash of namespaces')
  end
  revision, count, size = tonumber(revision), tonumber(count), tonumber(size)
elseif redis.call('EXISTS', key) == 1 then
  return redis.error_reply('FOREIGN ' .. key .. ' is not a hash of namespaces')
end
local function write_head()
  redis.call('HSET', key, '', string.format('%s %d %d %d', epoch, revision, count, size))
end
"""

CHANGE: Final = (
    _BEGIN
    + """
-- an epoch for a new hash, the kind, the name, the definition, the reason, the expected revision or
-- -1, the bounds, and the epoch that the node knows
local kind, name, value, reason = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local expected, most, most_bytes = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if not head then
  if ARGV[10] ~= '' then
    return {'lost'}
  end
  epoch, revision, count, size = ARGV[2], 0, 0, 0
end
local old = redis.call('HGET', key, name)
if kind == 'create' and old then
  return {'exists'}
elseif kind ~= 'create' and not old then
  return {'missing'}
end
local birth = string.format('%s:%d ', epoch, revision + 1)
if old then
  local found, known, text = string.match(old, '^(%d+) ([^{]*)(.*)$')
  if expected >= 0 and tonumber(found) ~= expected then
    return {'changed'}
  end
  birth = known or birth
  count, size = count - 1, size - #(text or '')
end
if kind ~= 'remove' then
  count, size = count + 1, size + #value
  if count > most or size > most_bytes then
    return {'full'}
  end
end
revision = revision + 1
if kind == 'remove' then
  redis.call('HDEL', key, name)
else
  redis.call('HSET', key, name, string.format('%d ', revision) .. birth .. value)
end
write_head()
redis.call('PUBLISH', channel, cmsgpack.pack({epoch, revision, name, value, reason}))
return {'done', epoch, revision}
"""
)

RESTORE: Final = (
    _BEGIN
    + """
-- an epoch, a revision, then names and definitions with their revisions and births, by turns
if head then
  return {'there'}
end
epoch, revision, count, size = ARGV[2], tonumber(ARGV[3]), 0, 0
for i = 4, #ARGV, 2 do
  redis.call('HSET', key, ARGV[i], ARGV[i + 1])
  count, size = count + 1, size + #string.match(ARGV[i + 1], '^%d+ [^{]*(.*)$')
end
write_head()
redis.call('PUBLISH', channel, cmsgpack.pack({epoch, revision, '', '', ''}))
return {'done', epoch, revision}
"""
)
