-- boot, limit: end claims of a dead one in this namespace
local boot, limit = ARGV[11], ARGV[12]
if is_alive(boot) then
  return answer('ALIVE')
end
local first = boot .. '\0' .. PLACE
local members = redis.call('ZRANGEBYLEX', OWNED, '[' .. first, '(' .. boot .. '\1', 'LIMIT', 0, limit)
local at, count, has_begun = milliseconds(), 0, false
for _, member in ipairs(members) do
  if string.sub(member, 1, #first) ~= first then
    break
  end
  if not has_begun then
    has_begun = true
    write()
  end
  local number, user = string.match(string.sub(member, #first + 1), '^(%d+) (.*)$')
  local seats = load(user)
  local is_there = false
  for _, seat in ipairs(seats) do
    if seat[1] == tonumber(number) then
      finish(user, seats, seat, 'node_lost', at)
      is_there = true
      count = count + 1
      break
    end
  end
  if not is_there then -- the namespace was lost by itself
    redis.call('ZREM', OWNED, member)
  end
end
tell_readers()
return answer('OK', count, #members, written)
