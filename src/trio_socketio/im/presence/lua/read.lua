-- the generation and sequence of a cursor; how many entries
local from, behind, limit = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13]
if from ~= generation or behind > sequence then -- PRES-32
  return answer('CHANGED', generation, sequence)
end
if behind == sequence then
  return answer('OK', generation, sequence, {})
end
local entries = redis.call('XRANGE', LOG, text(generation) .. '-' .. text(behind + 1), '+', 'COUNT', limit)
local first = redis.call('XRANGE', LOG, '-', '+', 'COUNT', 1)
local oldest = first[1] and tonumber(string.match(first[1][1], '-(%d+)$')) - 1 or sequence
if behind < oldest then -- PRES-31
  return answer('EXPIRED', generation, sequence, oldest)
end
local values = {}
for number, entry in ipairs(entries) do
  values[number] = entry[2][2]
end
return answer('OK', generation, sequence, values)
