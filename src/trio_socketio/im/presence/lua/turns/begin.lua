-- What every script about the turns of groups begins with. Nothing here knows the time.
--
-- KEYS: groups, leases (of the presence store; only read).
-- ARGV: the channel for news, the name of the group, the boot of the caller, then what the script
--       takes.
--
-- groups  NAMESPACE "\0" NAME -> "POSITION HOLDER NUMBER LOSSES TOUCHED WAITING...", where
--         POSITION and HOLDER are "-" if there is none, and the rest are boots that wait;
--         "touched" -> the number of the last change of a holder
-- leases  boot -> anything; a boot that is here is alive

local GROUPS, LEASES = KEYS[1], KEYS[2]
local CHANNEL, NAME, BOOT = ARGV[1], ARGV[2], ARGV[3]
local TOUCHED = 'touched'

local function alive(boot)
  return redis.call('HEXISTS', LEASES, boot) == 1
end

-- Returns nil if there is no such group. Boots that are gone wait no longer.
local function parse(text)
  if not text then
    return nil
  end
  local words = {}
  for word in string.gmatch(text, '%S+') do
    words[#words + 1] = word
  end
  if #words < 5 or not (tonumber(words[4]) and tonumber(words[5]))
    or not (words[1] == '-' or string.match(words[1], '^%d+%-%d+$')) then
    error('FOREIGN ' .. GROUPS .. ' was not written by this program, which leaves it alone')
  end
  local group = {
    position = words[1], holder = words[2], number = words[3],
    losses = tonumber(words[4]), touched = tonumber(words[5]), waiting = {},
  }
  for index = 6, #words do
    if alive(words[index]) then
      table.insert(group.waiting, words[index])
    end
  end
  return group
end

local function read()
  return parse(redis.call('HGET', GROUPS, NAME))
end

local function write(group)
  local text = string.format('%s %s %s %.0f %.0f', group.position, group.holder, group.number,
    group.losses, group.touched)
  if #group.waiting > 0 then
    text = text .. ' ' .. table.concat(group.waiting, ' ')
  end
  redis.call('HSET', GROUPS, NAME, text)
end

-- Returns whether the boot was among those that wait.
local function remove(group, boot)
  for index, other in ipairs(group.waiting) do
    if other == boot then
      table.remove(group.waiting, index)
      return true
    end
  end
  return false
end

local function touch(group)
  group.touched = redis.call('HINCRBY', GROUPS, TOUCHED, 1)
end

local function idle(group)
  return #group.waiting == 0 and not (group.holder ~= '-' and alive(group.holder))
end

local function known()
  return math.max(redis.call('HLEN', GROUPS) - 1, 0)
end

local function tell()
  redis.call('PUBLISH', CHANNEL, BOOT .. ' ' .. NAME)
end
