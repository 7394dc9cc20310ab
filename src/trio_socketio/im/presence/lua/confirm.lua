-- user, and the generation and sequence of the claim whose client is out
local user, token = ARGV[11], {tonumber(ARGV[12]), tonumber(ARGV[13])}
local orders = orders_of(user)
for number, one in ipairs(orders) do
  if one[1] == token[1] and one[2] == token[2] then
    write()
    table.remove(orders, number)
    orders.changed = true
    redis.call('ZREM', INBOX, one[6])
    save_orders(user, orders)
    redis.call('PUBLISH', CHANNELS .. 'confirmed', PLACE .. user)
    break
  end
end
return answer('OK')
