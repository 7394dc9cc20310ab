-- users
local users = {}
for number = 11, #ARGV do
  users[#users + 1] = ARGV[number]
end
return present(users)
