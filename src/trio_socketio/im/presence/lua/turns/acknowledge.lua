-- Moves the position of a group whose turn the caller has, or gives it up. ARGV: the number of the
-- turn, the position ("-" leaves it as it is, "lost" gives it up).
-- Returns LOST, or KEPT with losses, whether others wait, known groups.

local number, position = ARGV[4], ARGV[5]

local group = read()
if not group or group.holder ~= BOOT or group.number ~= number then
  return {'LOST'}
end
if position == 'lost' then
  group.position, group.losses = '-', group.losses + 1
  tell()
elseif position ~= '-' then
  group.position = position
end
if position ~= '-' then
  write(group)
end
return {'KEPT', group.losses, math.min(#group.waiting, 1), known()}
