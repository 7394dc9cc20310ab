-- boot, name, and the epoch in which it was enrolled or has rebuilt
local boot, name, own_epoch = ARGV[9], ARGV[10], tonumber(ARGV[11])
if redis.call('ZSCORE', DEAD, boot) then
  return answer('ENDED')
end
local value = redis.call('HGET', LEASES, boot)
if own_epoch == epoch then
  if not value then -- PRES-22
    return answer('ENDED')
  end
  local counter, flag = read_lease(value)
  if not counter then
    return refuse(LEASES, 'has a field of others')
  end
  redis.call('HSET', LEASES, boot, text(counter + 1) .. ' ' .. flag .. ' ' .. name)
  return answer('RENEWED')
end
if not value then
  local leases = redis.call('HVALS', LEASES)
  for _, other in ipairs(leases) do
    local _, _, owner = read_lease(other)
    if owner == name then -- its node was started anew meanwhile, and this is what is left of before
      redis.call('ZADD', DEAD, 0, boot)
      return answer('ENDED')
    end
  end
end
write()
redis.call('HSET', META, 'rebuilding', 1) -- the program that began this epoch may not have known that claims were lost
rebuilding = 1
redis.call('HSET', LEASES, boot, '1 1 ' .. name)
return answer('REBUILD')
