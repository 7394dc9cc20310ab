-- boot: the first claim that is left of a dead one; behind a namespace that cannot be used, if any
local boot = ARGV[9]
if is_alive(boot) then
  return answer('ALIVE')
end
local first = ARGV[10] == '' and '[' .. boot .. '\0' or '(' .. boot .. '\0' .. ARGV[10] .. '\255'
local members = redis.call('ZRANGEBYLEX', OWNED, first, '(' .. boot .. '\1', 'LIMIT', 0, 1)
return answer('OK', members)
