-- the user behind which the page begins, with "(" before it, or "-"; how many users
local users = redis.call('ZRANGEBYLEX', NAMES, ARGV[9], '+', 'LIMIT', 0, ARGV[10])
return present(users)
