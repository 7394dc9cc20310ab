-- user, boot, attempt, the generation and sequence of the token (0 if it is not known), reason
local user, boot, attempt = ARGV[11], ARGV[12], tonumber(ARGV[13])
local token, reason = {tonumber(ARGV[14]), tonumber(ARGV[15])}, ARGV[16]

if not is_alive(boot) then -- PRES-21
  return not_alive(boot)
end
local seats = load(user)
for _, seat in ipairs(seats) do
  local meant
  if token[1] == 0 then
    meant = seat[3] == attempt
  else
    meant = token[1] == generation and seat[1] == token[2]
  end
  if seat[2] == boot and meant then
    write()
    finish(user, seats, seat, reason, milliseconds())
    tell_readers()
    return answer('RELEASED', generation, sequence, written)
  end
end
return answer('STALE', generation, sequence, written) -- PRES-19
