-- user, boot, node, id, attempt, policy, maximum, takeover, recovers, and until when Redis may take it,
-- in milliseconds of its own clock (0: whenever)
local user, boot, policy = ARGV[11], ARGV[12], ARGV[16]
local request = {boot = boot, node = ARGV[13], id = ARGV[14], attempt = tonumber(ARGV[15])}
local maximum, takeover, recovers = tonumber(ARGV[17]), ARGV[18], ARGV[19] == '1'

-- It has come when its node waited no more: its client was refused, and may be in elsewhere by now.
local deadline = tonumber(ARGV[20])
if deadline > 0 and milliseconds() > deadline then -- RSTORE-55
  return answer('LATE')
end
if not is_alive(boot) then -- PRES-21
  return not_alive(boot)
end
local seats, orders = load(user), orders_of(user)
local before = found_before(seats, orders, boot, request.attempt)
if before then -- PRES-16
  return claimed(before, orders, boot)
end
local own = {}
for _, seat in ipairs(seats) do
  if recovers and seat[4] == request.id then
    own[#own + 1] = seat
  end
end
local refusal
if #seats > 0 and #own == 0 then
  if policy == 'many' then
    refusal = #seats >= maximum and 'too many sessions' -- PRES-12
  elseif recovers then
    refusal = 'seat taken' -- PRES-17
  elseif policy == 'reject' then
    refusal = 'already connected' -- PRES-11
  end
end
if refusal then
  return answer('TAKEN', generation, sequence, refusal)
end

write()
local at = milliseconds()
local ended = {}
for _, seat in ipairs(policy == 'newest' and seats or own) do -- PRES-10
  ended[#ended + 1] = seat
end
local reason = #own > 0 and 'recovered' or 'replaced'
local last = ended[#ended]
for number, seat in ipairs(ended) do
  if number < #ended then -- left over from a time when the policy was another one
    finish(user, seats, seat, reason, at)
  end
  order(user, orders, {generation, seat[1]}, seat[2], seat[3], reason)
end
save_orders(user, orders)
if last then
  take_out(user, seats, last)
end
local waits = rebuilding == 1
for _, one in ipairs(orders) do
  waits = waits or (one[3] ~= boot and is_alive(one[3]))
end
local seat = take(user, seats, request, last, last and reason, takeover == 'fast' and waits, {0, 0}, at) -- PRES-15
tell_readers()
return claimed({generation, seat[1]}, orders, boot)
