-- Drops a group that is without members, and was not touched meanwhile. ARGV: when that was.

local group = read()
if group and group.touched == tonumber(ARGV[4]) and idle(group) then
  return redis.call('HDEL', GROUPS, NAME)
end
return 0
