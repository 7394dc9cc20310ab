-- boot: has reasserted all of its claims
local boot = ARGV[7]
local value = redis.call('HGET', LEASES, boot)
if value then
  local counter, _, writer, name = named(value)
  redis.call('HSET', LEASES, boot, text(counter) .. ' 0 ' .. writer .. ' ' .. name)
end
return answer('OK')
