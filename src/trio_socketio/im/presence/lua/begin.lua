-- What every script of the presence store begins with. Nothing here uses a clock to judge anything:
-- TIME only dates entries of the log, and begins an epoch with a number that was never used.
--
-- KEYS: meta, leases, dead, wrote, owned, orders, inbox, and for scripts about one namespace
--       its head, users, names and log.
-- ARGV: the highest epoch, revision and generation that the caller has seen; the name of the caller,
--       and the revision of its own last write that was answered; the prefix of channels; then, for
--       scripts about one namespace, its name and the bound of its log; then what the script takes.
--
-- meta    epoch, revision (of the last write), generations (the last one given to a log), format,
--         rebuilding (present while nodes may still have claims that this epoch does not know)
-- leases  boot -> "COUNTER REBUILDING WRITER NAME"; a boot that is here is alive
-- dead    boots that are not, with score 0 as long as they may have claims or orders left
-- wrote   writer -> the revision of its last write
-- owned   "BOOT\0NAMESPACE'S LENGTH:NAMESPACE SEQUENCE USER" for every seat
-- orders  "NAMESPACE'S LENGTH:NAMESPACE USER" -> whom nodes have yet to put out
-- inbox   the same orders, by boot and in the order in which they were given
-- head    epoch, generation, sequence (of the last entry); users: user -> seats; names: the users

local META, LEASES, DEAD, WROTE, OWNED, ORDERS, INBOX = unpack(KEYS, 1, 7)
local HEAD, USERS, NAMES, LOG = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local FORMAT = 'tsio-presence-1'
local WRITER, CHANNELS = ARGV[4], ARGV[6]
local KINDS = {'hash', 'hash', 'zset', 'hash', 'zset', 'hash', 'zset', 'hash', 'hash', 'zset', 'stream'}

local function text(number)
  return string.format('%.0f', number)
end

local function refuse(key, why)
  return {err = 'FOREIGN ' .. key .. ' ' .. why .. ': it was not written by this program, which leaves it alone'}
end

-- Foreign keys are found before anything is written, because Redis takes nothing back (RSTORE-20).
for number, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= KINDS[number] then
    return refuse(key, 'is a ' .. kind)
  end
end

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local found = redis.call('HMGET', META, 'epoch', 'revision', 'generations', 'rebuilding', 'format')
local epoch, revision, generations = tonumber(found[1]), tonumber(found[2]), tonumber(found[3])
local rebuilding = found[4] and 1 or 0
local seen = {tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])}
local wrote = tonumber(ARGV[5])

if (epoch and not (revision and generations and found[5] == FORMAT))
  or (not epoch and redis.call('EXISTS', unpack(KEYS, 1, 7)) > 0) then
  return refuse(META, 'is not that of a presence store')
end

-- A store that does not have what somebody was told has lost it, and perhaps more (RSTORE-10).
local lost = not epoch
  or seen[1] > epoch
  or (seen[1] == epoch
    and (seen[2] > revision or wrote > tonumber(redis.call('HGET', WROTE, WRITER) or 0)))
if lost then
  local last = math.max(epoch or 0, generations or 0, seen[1], seen[3])
  local knew = (epoch or 0) + seen[1] > 0
  epoch = math.max(milliseconds(), last + 1)
  revision, generations, rebuilding = 0, epoch, knew and 1 or 0
  -- Commands that need memory come first, here and everywhere: without memory, nothing is changed.
  redis.call('HSET', META, 'epoch', text(epoch), 'revision', 0, 'generations', text(epoch), 'format', FORMAT)
  if knew then
    redis.call('HSET', META, 'rebuilding', 1)
  end
  redis.call('DEL', LEASES, WROTE, OWNED, ORDERS, INBOX)
  redis.call('PUBLISH', CHANNELS .. 'epoch', text(epoch))
end

local has_written = 0

local function answer(status, ...)
  return {status, epoch, revision, generations, rebuilding, has_written, ...}
end

-- Begins a change. It comes before all other changes of a script.
local function write()
  revision = redis.call('HINCRBY', META, 'revision', 1)
  redis.call('HSET', WROTE, WRITER, revision)
  has_written = 1
end

local function is_alive(boot)
  return redis.call('HEXISTS', LEASES, boot) == 1
end

-- What to answer a boot that has no lease: it had one that has ended, or this epoch does not know it
-- yet (RSTORE-13).
local function not_alive(boot)
  return answer(redis.call('ZSCORE', DEAD, boot) and 'FENCED' or 'LOST')
end

-- The lease of a boot ends, for good.
local function fence(boot)
  redis.call('ZADD', DEAD, 0, boot)
  redis.call('HDEL', LEASES, boot)
  redis.call('PUBLISH', CHANNELS .. 'confirmed', '*')
end

local function named(value)
  local counter, flag, writer, name = string.match(value, '^(%d+) (%d) (%S+) (.*)$')
  return tonumber(counter), tonumber(flag), writer, name
end
