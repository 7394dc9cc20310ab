-- Gives the turn of a group back, or waits for it no longer. ARGV: the number of the turn ("-" means
-- whichever the caller has), the position ("-" leaves it as it is), 1 if the caller waits from now
-- on, else 0.
-- Returns LEFT, whether others wait, known groups.

local number, position, waits = ARGV[4], ARGV[5], ARGV[6] == '1'

local group = read()
if not group then
  return {'LEFT', 0, known()}
end
if group.holder == BOOT and (number == '-' or group.number == number) then
  if position ~= '-' then
    group.position = position
  end
  group.holder, group.number = '-', '0'
  touch(group)
end
remove(group, BOOT)
local others = math.min(#group.waiting, 1)
if waits and alive(BOOT) then
  table.insert(group.waiting, BOOT)
end
if group.position == '-' and group.holder == '-' and #group.waiting == 0 then
  redis.call('HDEL', GROUPS, NAME) -- there is nothing to remember
else
  write(group)
end
tell()
return {'LEFT', others, known()}
