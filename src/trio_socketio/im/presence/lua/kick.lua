-- user
local user = ARGV[11]
local seats = load(user)
if #seats == 0 then
  return answer('ABSENT', generation, sequence)
end
write()
local at = milliseconds()
local orders, tokens, nodes, ended = orders_of(user), {}, {}, {}
for _, seat in ipairs(seats) do
  ended[#ended + 1] = seat
end
for _, seat in ipairs(ended) do
  finish(user, seats, seat, 'kicked', at)
  order(user, orders, {generation, seat[1]}, seat[2], seat[3], 'kicked')
  if not is_alive(seat[2]) then
    note_kicked(PLACE .. user, generation, seat[1])
  end
  tokens[#tokens + 1], nodes[#nodes + 1] = seat[1], seat[5]
end
save_orders(user, orders)
tell_readers()
return answer('KICKED', generation, sequence, tokens, nodes, written)
