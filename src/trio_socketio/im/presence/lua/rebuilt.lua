-- boot: has reasserted all of its claims; and the epoch in which it did so
local boot, done = ARGV[9], tonumber(ARGV[10])
local value = redis.call('HGET', LEASES, boot)
local counter, _, name = read_lease(value or '')
if counter and done == epoch then -- RSTORE-51
  redis.call('HSET', LEASES, boot, text(counter) .. ' 0 ' .. name)
end
return answer('OK')
