-- Returns the names of the groups without members, each followed by when it was touched last.

local found = {}
local all = redis.call('HGETALL', GROUPS)
for index = 1, #all, 2 do
  if all[index] ~= TOUCHED then
    local group = parse(all[index + 1])
    if idle(group) then
      table.insert(found, all[index])
      table.insert(found, group.touched)
    end
  end
end
return found
