-- an epoch for which somebody has seen a whole lease pass
if rebuilding == 1 and tonumber(ARGV[9]) == epoch then
  for _, value in ipairs(redis.call('HVALS', LEASES)) do
    local _, flag = read_lease(value)
    if flag == 1 then -- it is at it
      return answer('OK')
    end
  end
  write()
  redis.call('HDEL', META, 'rebuilding')
  rebuilding = 0
  redis.call('PUBLISH', CHANNELS .. 'confirmed', '*')
end
return answer('OK')
