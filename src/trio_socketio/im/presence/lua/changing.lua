-- What scripts have in common that change something in a namespace, behind namespace.lua.

-- A key that is not ours has to be found before anything is written, because Redis takes nothing back
-- (RSTORE-20). The others were read by then.
for key, kind in pairs({[OWNED] = 'zset', [NAMES] = 'zset', [LOG] = 'stream', [INBOX] = 'zset'}) do
  local is = redis.call('TYPE', key).ok
  if is ~= kind and is ~= 'none' then
    return refuse(key, 'is a ' .. is)
  end
end

local KEPT_OUT = 'replaced'
local written = {} -- the types of the entries

local function load(user)
  local value = redis.call('HGET', USERS, user)
  return value and cmsgpack.unpack(value) or {}
end

local function save(user, seats)
  if #seats > 0 then
    redis.call('HSET', USERS, user, cmsgpack.pack(seats))
  else
    redis.call('HDEL', USERS, user)
  end
end

-- A seat is {sequence, boot, attempt, id, node, at, generation and sequence of the token that it had
-- in an epoch before or under a boot before; 0 if none}.
local function owned(user, seat)
  return seat[2] .. '\0' .. PLACE .. text(seat[1]) .. ' ' .. user
end

local function append(kind, user, seat, prev, reason, unconfirmed, at)
  sequence = sequence + 1
  redis.call('HSET', HEAD, 'sequence', text(sequence))
  local entry = {kind, user, seat[4], seat[5], seat[2], seat[3], seat[1] == 0 and sequence or seat[1],
    prev or '', reason or '', unconfirmed and 1 or 0, at, seat[6]}
  redis.call('XADD', LOG, 'MAXLEN', '~', MAX_EVENTS, text(generation) .. '-' .. text(sequence),
    'e', cmsgpack.pack(entry))
  written[#written + 1] = kind
  return sequence
end

local function tell_readers()
  if #written > 0 then
    redis.call('PUBLISH', CHANNELS .. 'log:' .. NAMESPACE, '')
  end
end

-- Take a seat out of the list of its user.
local function take_out(user, seats, seat)
  for number, one in ipairs(seats) do
    if one[1] == seat[1] then
      table.remove(seats, number)
      break
    end
  end
  redis.call('ZREM', OWNED, owned(user, seat))
end

local function finish(user, seats, seat, reason, at)
  take_out(user, seats, seat)
  save(user, seats)
  if #seats > 0 then
    append('seat_removed', user, seat, nil, reason, false, at)
    return
  end
  append('offline', user, seat, nil, reason, false, at)
  redis.call('ZREM', NAMES, user)
  if redis.call('EXISTS', USERS) == 0 then
    redis.call('PEXPIRE', HEAD, IDLE_MS)
    redis.call('PEXPIRE', LOG, IDLE_MS)
  end
end

-- Write a new seat, which replaces another one or comes to those that there are.
local function take(user, seats, request, last, reason, unconfirmed, before, at)
  local kind = last and 'moved' or #seats > 0 and 'seat_added' or 'online'
  if kind == 'online' and redis.call('EXISTS', USERS) == 0 then
    redis.call('PERSIST', HEAD)
    redis.call('PERSIST', LOG)
  end
  local seat = {0, request.boot, request.attempt, request.id, request.node, at, before[1], before[2]}
  local prev = last and text(generation) .. '-' .. text(last[1])
  seat[1] = append(kind, user, seat, prev, reason, unconfirmed, at)
  seats[#seats + 1] = seat
  save(user, seats)
  redis.call('ZADD', OWNED, 0, owned(user, seat))
  if kind == 'online' then
    redis.call('ZADD', NAMES, 0, user)
  end
  return seat
end

local function save_orders(user, orders)
  if not orders.changed then
    return
  end
  orders.changed = nil
  if #orders > 0 then
    redis.call('HSET', ORDERS, PLACE .. user, cmsgpack.pack(orders))
  else
    redis.call('HDEL', ORDERS, PLACE .. user)
  end
end

-- Have a node put a client out. One that is not alive does nothing more anyway.
local function order(user, orders, token, boot, attempt, reason)
  if not is_alive(boot) then
    return
  end
  local member = boot .. '\0' .. string.format('%016.0f%04d', revision, #orders)
    .. cmsgpack.pack({NAMESPACE, user, token[1], token[2], attempt, reason})
  orders[#orders + 1] = {token[1], token[2], boot, attempt, reason, member}
  orders.changed = true
  redis.call('ZADD', INBOX, 0, member)
  redis.call('PUBLISH', CHANNELS .. 'boot:' .. boot, '')
end

local function claimed(token, orders, boot)
  local mine, awaits = {}, {}
  for _, one in ipairs(orders) do
    if one[3] == boot then
      mine[#mine + 1] = {one[1], one[2], one[4], one[5]}
    elseif is_alive(one[3]) then
      awaits[#awaits + 1] = {one[1], one[2]}
    end
  end
  if rebuilding == 1 then -- clients may be in of whom this epoch does not know yet (RSTORE-14)
    awaits[#awaits + 1] = {generation, 0}
  end
  return answer('CLAIMED', generation, token[1], token[2], mine, awaits, written)
end

local function found_before(seats, orders, boot, attempt)
  for _, seat in ipairs(seats) do
    if seat[2] == boot and seat[3] == attempt then
      return {generation, seat[1]}
    end
  end
  for _, one in ipairs(orders) do
    if one[3] == boot and one[4] == attempt then
      return {one[1], one[2]}
    end
  end
end

