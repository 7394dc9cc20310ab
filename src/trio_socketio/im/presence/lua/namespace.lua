-- What scripts about one namespace begin with, behind begin.lua.

local NAMESPACE, MAX_EVENTS = ARGV[9], ARGV[10]
local IDLE_MS = 86400000 -- for how long the log of a namespace without users is kept

local head = redis.call('HMGET', HEAD, 'epoch', 'generation', 'sequence')
local generation, sequence = tonumber(head[2]), tonumber(head[3])
if not head[1] and redis.call('EXISTS', HEAD, USERS, NAMES, LOG) > 0 then
  return refuse_one(8, 11)
end
if tonumber(head[1]) ~= epoch then -- it is new, or of an epoch that is over
  write() -- so that its loss is noticed: another namespace could get this generation, and it an earlier one (RSTORE-56)
  generations = redis.call('HINCRBY', META, 'generations', 1)
  generation, sequence = generations, 0
  redis.call('HSET', HEAD, 'epoch', text(epoch), 'generation', text(generation), 'sequence', 0)
  redis.call('UNLINK', USERS, NAMES, LOG)
  redis.call('PEXPIRE', HEAD, IDLE_MS)
end

local PLACE = #NAMESPACE .. ':' .. NAMESPACE .. ' '

-- An order is {generation, sequence, boot, attempt, reason, its member of the inbox}.
local function orders_of(user)
  local value = redis.call('HGET', ORDERS, PLACE .. user)
  return value and cmsgpack.unpack(value) or {}
end
