-- user, 1 to wait for every order of the user and not only for these, then the generations and
-- sequences of claims
local user, all = ARGV[11], ARGV[12] == '1'
local wanted = {}
for number = 13, #ARGV, 2 do
  wanted[ARGV[number] .. '-' .. ARGV[number + 1]] = true
end
local waiting = 0
for _, one in ipairs(orders_of(user)) do
  if (all or wanted[text(one[1]) .. '-' .. text(one[2])]) and is_alive(one[3]) then
    waiting = waiting + 1
  end
end
return answer('OK', waiting)
