-- boot: all its claims have ended; forget its orders, and remember only that it is dead
local boot = ARGV[9]
if is_alive(boot) then
  return answer('ALIVE')
end
local members = redis.call('ZRANGEBYLEX', INBOX, '[' .. boot .. '\0', '(' .. boot .. '\1', 'LIMIT', 0, 500)
local score = redis.call('ZSCORE', DEAD, boot)
if #members == 0 and (not score or tonumber(score) > 0) then
  return answer('OK')
end
write()
for _, member in ipairs(members) do
  local namespace, user = unpack(cmsgpack.unpack(string.sub(member, #boot + 22)))
  local field = #namespace .. ':' .. namespace .. ' ' .. user
  local value = redis.call('HGET', ORDERS, field)
  local orders = {}
  for _, one in ipairs(value and cmsgpack.unpack(value) or {}) do
    if one[6] ~= member then
      orders[#orders + 1] = one
    elseif one[5] == 'kicked' then
      note_kicked(field, one[1], one[2])
    end
  end
  if #orders > 0 then
    redis.call('HSET', ORDERS, field, cmsgpack.pack(orders))
  else
    redis.call('HDEL', ORDERS, field)
  end
  redis.call('ZREM', INBOX, member)
end
if score and #members < 500 and #redis.call('ZRANGEBYLEX', OWNED, '[' .. boot .. '\0', '(' .. boot .. '\1', 'LIMIT', 0, 1) == 0 then
  local now = milliseconds()
  redis.call('ZADD', DEAD, now, boot)
  redis.call('ZREMRANGEBYSCORE', DEAD, 1, now - 2 * 86400000) -- tombstones are kept for two days
end
return answer('OK')
