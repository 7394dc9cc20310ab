-- Returns a delivery, or UNKNOWN. ARGV: its key.

if redis.call('HEXISTS', HEADS, ARGV[1]) == 0 then
  return {'UNKNOWN'}
end
return {'KNOWN', show(ARGV[1])}
