-- Ends deliveries, whoever has confirmed. ARGV: the time, then their keys.

for index = 2, #ARGV do
  finish(ARGV[index], ARGV[1])
end
return {'ENDED'}
