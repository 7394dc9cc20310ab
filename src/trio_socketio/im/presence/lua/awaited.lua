-- user, whether all orders count, then the generations and sequences of claims
local user, all = ARGV[9], ARGV[10] == '1'
local wanted, lost = {}, 0
for number = 11, #ARGV, 2 do
  wanted[ARGV[number] .. '-' .. ARGV[number + 1]] = true
  if tonumber(ARGV[number]) ~= generation then -- its order was lost, unless it has been given anew
    lost, all = 1, true
  end
end
local waiting = 0
for _, one in ipairs(orders_of(user)) do
  if (all or wanted[text(one[1]) .. '-' .. text(one[2])]) and is_alive(one[3]) then
    waiting = waiting + 1
  end
end
return answer('OK', waiting, lost)
