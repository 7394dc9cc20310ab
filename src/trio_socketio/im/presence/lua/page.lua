-- the user behind which the page begins, with "(" before it, or "-"; how many users
local users = redis.call('ZRANGEBYLEX', NAMES, ARGV[11], '+', 'LIMIT', 0, ARGV[12])
return present(users)
