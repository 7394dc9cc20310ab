-- What every script of the presence store begins with. Nothing here uses a clock to judge anything:
-- TIME only dates entries of the log, and begins an epoch with a number that was never used.
--
-- KEYS: meta, leases, dead, owned, orders, inbox, and for scripts about one namespace
--       its head, users, names and log.
-- ARGV: the highest epoch, revision and generation that the caller has seen; the name of the caller,
--       and the revision of its own last write that was answered; the prefix of channels; then, for
--       scripts about one namespace, its name and the bound of its log; then what the script takes.
--
-- meta    epoch, revision (of the last write), generations (the last one given to a log), format,
--         rebuilding (present while nodes may still have claims that this epoch does not know),
--         by:WRITER (the revision of its last write)
-- leases  boot -> "COUNTER REBUILDING WRITER NAME"; a boot that is here is alive
-- dead    boots that are not, with score 0 as long as they may have claims or orders left
-- owned   "BOOT\0NAMESPACE'S LENGTH:NAMESPACE SEQUENCE USER" for every seat
-- orders  "NAMESPACE'S LENGTH:NAMESPACE USER" -> whom nodes have yet to put out
-- inbox   the same orders, by boot and in the order in which they were given
-- head    epoch, generation, sequence (of the last entry); users: user -> seats; names: the users

local META, LEASES, DEAD, OWNED, ORDERS, INBOX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local HEAD, USERS, NAMES, LOG = KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local FORMAT = 'tsio-presence-1'
local BY, CHANNELS = 'by:' .. ARGV[4], ARGV[6]

local function text(number)
  return string.format('%.0f', number)
end

local function refuse(key, why)
  return {err = 'FOREIGN ' .. key .. ' ' .. why .. ': it was not written by this program, which leaves it alone'}
end

-- Name the first of some keys that is there, though it should not be.
local function refuse_one(first, last)
  for number = first, last do
    if redis.call('EXISTS', KEYS[number]) == 1 then
      return refuse(KEYS[number], 'is not that of a presence store, or its fellows are missing')
    end
  end
end

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local found = redis.call('HMGET', META, 'epoch', 'revision', 'generations', 'rebuilding', 'format', BY)
local epoch, revision, generations = tonumber(found[1]), tonumber(found[2]), tonumber(found[3])
local rebuilding = found[4] and 1 or 0
local seen = {tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])}
local wrote = tonumber(ARGV[5])

if epoch and not (revision and generations and found[5] == FORMAT) then
  return refuse(META, 'is not that of a presence store')
end
if not epoch and redis.call('EXISTS', unpack(KEYS, 1, 6)) > 0 then
  return refuse_one(1, 6)
end

-- A store that does not have what somebody was told has lost it, and perhaps more (RSTORE-10).
local lost = not epoch
  or seen[1] > epoch
  or (seen[1] == epoch
    and (seen[2] > revision or wrote > tonumber(found[6] or 0)))
if lost then
  local last = math.max(epoch or 0, generations or 0, seen[1], seen[3])
  local knew = (epoch or 0) + seen[1] > 0
  epoch = math.max(milliseconds(), last + 1)
  revision, generations, rebuilding = 0, epoch, knew and 1 or 0
  -- Commands that need memory come first, here and everywhere: without memory, nothing is changed.
  redis.call('HSET', META, 'epoch', text(epoch), 'revision', 0, 'generations', text(epoch), 'format', FORMAT)
  for _, name in ipairs(redis.call('HKEYS', META)) do
    if string.sub(name, 1, 3) == 'by:' then
      redis.call('HDEL', META, name)
    end
  end
  if knew then
    redis.call('HSET', META, 'rebuilding', 1)
  end
  redis.call('DEL', LEASES, OWNED, ORDERS, INBOX)
  redis.call('PUBLISH', CHANNELS .. 'epoch', text(epoch))
end

local has_written = 0

local function answer(status, ...)
  return {status, epoch, revision, generations, rebuilding, has_written, ...}
end

-- Begins a change. It comes before all other changes of a script, so that one which finds no memory,
-- or may not write, changes nothing.
local function write()
  revision = revision + 1
  redis.call('HSET', META, 'revision', text(revision), BY, text(revision))
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
