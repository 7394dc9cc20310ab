-- Notes who has confirmed. ARGV: key, user and time of each.

for index = 1, #ARGV, 3 do
  local key, user, at = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  if redis.call('ZSCORE', OPEN, key)
    and redis.call('HSETNX', answers(key), user, at) == 1
    and redis.call('HINCRBY', LEFT, key, -1) == 0 then
    finish(key, at)
  end
end
return {'NOTED'}
