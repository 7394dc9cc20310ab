-- name, boot, lease in milliseconds
local name, boot, lease = ARGV[9], ARGV[10], ARGV[11]
if redis.call('ZSCORE', DEAD, boot) then -- PRES-22
  return answer('FENCED')
end
write()
local before, others = {}, 0
local leases = redis.call('HGETALL', LEASES)
for number = 1, #leases, 2 do
  local _, _, other = read_lease(leases[number + 1])
  if leases[number] ~= boot then
    if other == name then -- PRES-23
      before[#before + 1] = leases[number]
      fence(leases[number])
    else
      others = others + 1
    end
  end
end
local common = redis.call('HGET', META, 'lease')
if others > 0 and common and common ~= lease then -- RSTORE-35
  return answer('LEASE', common)
end
redis.call('HSET', META, 'lease', lease)
redis.call('HSET', LEASES, boot, '1 0 ' .. name)
return answer('OK', before)
