-- name, boot
local name, boot = ARGV[7], ARGV[8]
local MOST_WRITERS = 10000
if redis.call('ZSCORE', DEAD, boot) then -- PRES-22
  return answer('FENCED')
end
write()
local before = {}
local leases = redis.call('HGETALL', LEASES)
for number = 1, #leases, 2 do
  local _, _, _, other = named(leases[number + 1])
  if other == name and leases[number] ~= boot then -- PRES-23
    before[#before + 1] = leases[number]
    fence(leases[number])
  end
end
if redis.call('HLEN', WROTE) > MOST_WRITERS then -- most of them are programs that ended long ago
  local living = {[WRITER] = true}
  for _, value in ipairs(redis.call('HVALS', LEASES)) do
    local _, _, writer = named(value)
    living[writer] = true
  end
  for _, writer in ipairs(redis.call('HKEYS', WROTE)) do
    if not living[writer] then
      redis.call('HDEL', WROTE, writer)
    end
  end
end
redis.call('HSET', LEASES, boot, '1 0 ' .. WRITER .. ' ' .. name)
return answer('OK', before)
