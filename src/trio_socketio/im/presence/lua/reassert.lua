-- user, boot, node, id, attempt, policy, maximum, and the generation and sequence of the token it had
local user, boot, policy, maximum = ARGV[11], ARGV[12], ARGV[16], tonumber(ARGV[17])
local request = {boot = boot, node = ARGV[13], id = ARGV[14], attempt = tonumber(ARGV[15])}
local before = {tonumber(ARGV[18]), tonumber(ARGV[19])}

if not is_alive(boot) then
  return not_alive(boot)
end
local seats, orders = load(user), orders_of(user)
local again = found_before(seats, orders, boot, request.attempt)
if again and again[1] == generation then
  for _, seat in ipairs(seats) do
    if seat[1] == again[2] then
      return claimed(again, orders, boot)
    end
  end
end
if again then -- it was asked before, and others have the seat
  return answer('STALE', generation, sequence, written)
end

-- Of two logins the later one wins: by the token that a seat had before, or has.
local function is_earlier(seat)
  local first, second = seat[7], seat[8]
  if first == 0 then
    first, second = generation, seat[1]
  end
  return first < before[1] or (first == before[1] and second <= before[2])
end

local first, second = string.match(redis.call('HGET', KICKED, PLACE .. user) or '', '^(%d+)-(%d+)$')
first, second = tonumber(first or 0), tonumber(second or 0)
local was_kicked = before[1] < first or (before[1] == first and before[2] <= second) -- RSTORE-54

write()
local at = milliseconds()
local last
for _, seat in ipairs(seats) do
  local same = before[1] == generation and seat[1] == before[2]
  if same or (policy ~= 'many' and is_earlier(seat)) then
    last = seat -- our own under a boot before, or an earlier login
  end
end
if was_kicked or (not last and #seats >= (policy == 'many' and maximum or 1)) then
  order(user, orders, before, boot, request.attempt, was_kicked and 'kicked' or KEPT_OUT)
  save_orders(user, orders)
  return answer('STALE', generation, sequence, written)
end
if last then
  order(user, orders, {generation, last[1]}, last[2], last[3], KEPT_OUT)
  save_orders(user, orders)
  take_out(user, seats, last)
end
local seat = take(user, seats, request, last, last and 'reasserted', false, before, at)
tell_readers()
return claimed({generation, seat[1]}, orders, boot)
