return answer('OK', generation, sequence, redis.call('HLEN', USERS))
