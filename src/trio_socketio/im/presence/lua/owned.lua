-- boot, limit: claims that are left of a dead one
local boot = ARGV[7]
if is_alive(boot) then
  return answer('ALIVE')
end
local members = redis.call('ZRANGEBYLEX', OWNED, '[' .. boot .. '\0', '(' .. boot .. '\1', 'LIMIT', 0, 1)
return answer('OK', members)
