-- Takes the turn of a group, or waits for it. ARGV: the number of the turn, and how many groups may
-- be known; 0 means any number.
-- Returns GONE, CROWDED, or BUSY or HELD with position, losses, whether others wait, known groups.

local number, most = ARGV[4], tonumber(ARGV[5])

-- Makes room for another group; returns whether there is some.
local function make_room()
  if most == 0 or known() < most then
    return true
  end
  local oldest, touched
  local all = redis.call('HGETALL', GROUPS)
  for index = 1, #all, 2 do
    if all[index] ~= TOUCHED then
      local other = parse(all[index + 1])
      if idle(other) and not (touched and touched <= other.touched) then
        oldest, touched = all[index], other.touched
      end
    end
  end
  if oldest then
    redis.call('HDEL', GROUPS, oldest)
  end
  return oldest ~= nil
end

if not alive(BOOT) then
  return {'GONE'}
end
local group = read()
if not group then
  if not make_room() then
    return {'CROWDED'}
  end
  group = {position = '-', holder = '-', number = '0', losses = 0, touched = 0, waiting = {}}
end
local waited = remove(group, BOOT)
if group.holder ~= '-' and group.holder ~= BOOT and alive(group.holder) then
  table.insert(group.waiting, BOOT)
  write(group)
  if not waited then
    tell()
  end
  return {'BUSY', group.position, group.losses, 1, known()}
end
group.holder, group.number = BOOT, number
touch(group)
write(group)
return {'HELD', group.position, group.losses, math.min(#group.waiting, 1), known()}
