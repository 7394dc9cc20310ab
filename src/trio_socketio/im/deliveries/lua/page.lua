-- Returns the head of each delivery, how many users have not confirmed, and when it has ended. ARGV:
-- the first key that is looked for is greater than this one, the last one is less than this one, and
-- how many there may be.

local found = {}
local names = redis.call('ZRANGEBYLEX', NAMES, '(' .. ARGV[1], '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
for _, key in ipairs(names) do
  table.insert(found, {
    redis.call('HGET', HEADS, key), redis.call('HGET', LEFT, key),
    redis.call('ZSCORE', ENDED, key) or '',
  })
end
return {'PAGE', found}
