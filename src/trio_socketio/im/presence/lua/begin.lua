-- What every script of the presence store begins with. Nothing here uses a clock to judge anything:
-- TIME only dates entries of the log, and begins an epoch with a number that was never used.
--
-- KEYS: meta, leases, dead, owned, orders, inbox, kicked, and for scripts about one namespace
--       its head, users, names and log.
-- ARGV: the highest epoch, era, revision and generation that the caller has seen; the name of the
--       caller, the revision of its own last write that was answered, and the number of its
--       connection; the prefix of channels; then, for scripts about one namespace, its name and the
--       bound of its log; then what the script takes.
--
-- meta    epoch, revision (of the last write), generations (the last one given to a log), format,
--         rebuilding (present while nodes may still have claims that this epoch does not know),
--         run (of the process of Redis), era (how many such processes there have been),
--         end:ERA (the last revision of that era), lease (of all nodes, in milliseconds),
--         by:WRITER ("REVISION CONNECTION": of its last write, and the last one that it has used)
-- leases  boot -> "COUNTER REBUILDING NAME"; a boot that is here is alive
-- dead    boots that are not, with score 0 as long as they may have claims or orders left
-- owned   "BOOT\0NAMESPACE'S LENGTH:NAMESPACE SEQUENCE USER" for every seat
-- orders  "NAMESPACE'S LENGTH:NAMESPACE USER" -> whom nodes have yet to put out
-- inbox   the same orders, by boot and in the order in which they were given
-- kicked  "NAMESPACE'S LENGTH:NAMESPACE USER" -> the token of a claim that was ended by a kick which
--         its node has not confirmed; kept for a day
-- head    epoch, generation, sequence (of the last entry); users: user -> seats; names: the users

local META, LEASES, DEAD, OWNED, ORDERS, INBOX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local KICKED, HEAD, USERS, NAMES, LOG = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local FORMAT = 'tsio-presence-1'
local BY, CHANNELS = 'by:' .. ARGV[5], ARGV[8]

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

local found = redis.call('HMGET', META, 'epoch', 'revision', 'generations', 'rebuilding', 'format', 'era', BY)
local epoch, revision, generations = tonumber(found[1]), tonumber(found[2]), tonumber(found[3])
local rebuilding, era = found[4] and 1 or 0, tonumber(found[6])
local seen = {epoch = tonumber(ARGV[1]), era = tonumber(ARGV[2]), revision = tonumber(ARGV[3])}
local wrote, connection = tonumber(ARGV[6]), tonumber(ARGV[7])

if epoch and not (revision and generations and era and found[5] == FORMAT) then
  return refuse(META, 'is not that of a presence store')
end
if not epoch and redis.call('EXISTS', unpack(KEYS, 1, 7)) > 0 then
  return refuse_one(1, 7)
end

local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

-- A connection that was lost may still bring what was sent over it, when its program has gone on over
-- the next one. It comes too late, and nothing is done (RSTORE-50).
local by_revision, by_connection = string.match(found[7] or '', '^(%d+) (%d+)$')
by_revision, by_connection = tonumber(by_revision or 0), tonumber(by_connection or -1)
if connection < by_connection then
  return {'OVERTAKEN', epoch, era, revision, generations, rebuilding, 0}
end
if epoch and connection > by_connection then
  local run = run_id()
  if run ~= redis.call('HGET', META, 'run') then -- it was started anew, or another one took its place
    redis.call('HSET', META, 'end:' .. text(era), text(revision), 'era', text(era + 1), 'run', run)
    era = era + 1
  end
  redis.call('HSET', META, BY, text(by_revision) .. ' ' .. text(connection))
end

-- Whether somebody was told of a write that the store does not have: one behind the last of its own
-- process, or behind where the process of that time has ended as far as this one knows (RSTORE-10).
local function has_lost()
  if seen.epoch ~= epoch then
    return seen.epoch > epoch
  elseif seen.era == era then
    return seen.revision > revision or wrote > by_revision
  elseif seen.era > era then
    return true
  end
  local last = tonumber(redis.call('HGET', META, 'end:' .. text(seen.era)) or -1)
  return seen.revision > last or wrote > by_revision
end

if not epoch or has_lost() then
  local last = math.max(epoch or 0, generations or 0, seen.epoch, tonumber(ARGV[4]))
  local knew = (epoch or 0) + seen.epoch > 0
  epoch = math.max(milliseconds(), last + 1)
  era, revision, generations, rebuilding = 1, 0, epoch, knew and 1 or 0
  -- Commands that need memory come first, here and everywhere: without memory, nothing is changed.
  redis.call('HSET', META, 'epoch', text(epoch), 'era', 1, 'revision', 0, 'generations', text(epoch),
    'format', FORMAT, 'run', run_id())
  for _, name in ipairs(redis.call('HKEYS', META)) do
    if string.match(name, '^by:') or string.match(name, '^end:') then
      redis.call('HDEL', META, name)
    end
  end
  redis.call('HSET', META, BY, '0 ' .. text(connection))
  if knew then
    redis.call('HSET', META, 'rebuilding', 1)
  end
  redis.call('UNLINK', LEASES, OWNED, ORDERS, INBOX)
  redis.call('PUBLISH', CHANNELS .. 'epoch', text(epoch))
end

local has_written = 0

local function answer(status, ...)
  return {status, epoch, era, revision, generations, rebuilding, has_written, ...}
end

-- Begins a change. It comes before all other changes of a script, so that one which finds no memory,
-- or may not write, changes nothing.
local function write()
  revision = revision + 1
  redis.call('HSET', META, 'revision', text(revision), BY, text(revision) .. ' ' .. text(connection))
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

-- Read a lease; nothing if it is not one.
local function read_lease(value)
  local counter, flag, name = string.match(value, '^(%d+) (%d) (.*)$')
  return tonumber(counter), tonumber(flag), name
end

-- Remember that a claim was ended by a kick, though its node cannot confirm it: that may keep the
-- client nevertheless, and ask for the seat again when it is back (RSTORE-54).
local function note_kicked(field, first, second)
  redis.call('HSET', KICKED, field, text(first) .. '-' .. text(second))
  redis.call('PEXPIRE', KICKED, 86400000)
end
