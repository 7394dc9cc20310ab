-- What scripts answer with that tell who is online.

local function present(users)
  local values = #users > 0 and redis.call('HMGET', USERS, unpack(users)) or {}
  return answer('OK', generation, sequence, users, values)
end
