-- boot, name, and the epoch in which it was enrolled or has rebuilt
local boot, name, own_epoch = ARGV[7], ARGV[8], tonumber(ARGV[9])
if redis.call('ZSCORE', DEAD, boot) then
  return answer('ENDED')
end
local value = redis.call('HGET', LEASES, boot)
if own_epoch == epoch then
  if not value then -- PRES-22
    return answer('ENDED')
  end
  local counter, flag = named(value)
  redis.call('HSET', LEASES, boot, text(counter + 1) .. ' ' .. flag .. ' ' .. ARGV[4] .. ' ' .. name)
  return answer('RENEWED')
end
if not value then
  local leases = redis.call('HVALS', LEASES)
  for _, other in ipairs(leases) do
    local _, _, _, owner = named(other)
    if owner == name then -- its node was started anew meanwhile, and this is what is left of before
      redis.call('ZADD', DEAD, 0, boot)
      return answer('ENDED')
    end
  end
end
write()
redis.call('HSET', META, 'rebuilding', 1) -- whoever came first may have known nothing of a loss
rebuilding = 1
redis.call('HSET', LEASES, boot, '1 1 ' .. ARGV[4] .. ' ' .. name)
return answer('REBUILD')
