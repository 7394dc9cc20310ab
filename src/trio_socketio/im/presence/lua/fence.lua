-- boot, and the lease as it was seen for too long; empty: whatever it is
local boot, value = ARGV[9], ARGV[10]
local current = redis.call('HGET', LEASES, boot)
if not current or (value ~= '' and current ~= value) then
  return answer('ALIVE')
end
write()
fence(boot)
return answer('FENCED')
