-- Tells which key is of another kind than ours. It is asked when a script has come across one.
local kinds = {'hash', 'hash', 'zset', 'zset', 'hash', 'zset', 'hash', 'hash', 'hash', 'zset', 'stream'}
for number, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= kinds[number] then
    return {err = 'FOREIGN ' .. key .. ' is a ' .. kind .. ': it was not written by this program, which leaves it alone'}
  end
end
return 0
