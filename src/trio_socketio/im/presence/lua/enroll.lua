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
if redis.call('HLEN', META) > MOST_WRITERS then -- most of them are programs that ended long ago
  local living = {[BY] = true}
  for _, value in ipairs(redis.call('HVALS', LEASES)) do
    local _, _, writer = named(value)
    living['by:' .. writer] = true
  end
  for _, field in ipairs(redis.call('HKEYS', META)) do
    if string.sub(field, 1, 3) == 'by:' and not living[field] then
      redis.call('HDEL', META, field)
    end
  end
end
redis.call('HSET', LEASES, boot, '1 0 ' .. ARGV[4] .. ' ' .. name)
return answer('OK', before)
