-- What the store keeps of the operators' commands for one kind of process: the same as MemoryCommands in the tests.
-- KEYS: state, slots, stream, instances, then the acknowledgements of the commands that are named.
-- ARGV: channel, operation, arguments. `now` is set by the line before this one, milliseconds.

local ALIVE, ACKNOWLEDGED, FORGOTTEN, LONGEST, HISTORY = 5000, 60000, 86400000, 256, 50
local STATE, SLOTS, STREAM, INSTANCES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local POLICIES = 'policies'

local known = redis.call('HMGET', STATE, 'sequence', 'clock')
-- sequence: of the last change, 0 before the first. clock: the newest version.
local sequence, clock = tonumber(known[1] or '0'), tonumber(known[2] or '0')

-- Numbers as text: Lua would write large ones with an exponent.
local function text(value) return string.format('%.0f', value) end

local function is_policy(slot) return string.sub(slot, 1, 7) == 'policy:' end

local function parse(value)
  local version, expires, id, json = string.match(value, '^(%d+)|(%d+)|([^|]*)|(.*)$')
  return {version = tonumber(version), expires = tonumber(expires), id = id, json = json}
end

local function read(slot)
  local value = redis.call('HGET', SLOTS, slot)
  return value and parse(value) or {version = -1, expires = 0, id = ''}
end

local function remaining(expires)
  if expires == 0 then return -1 end
  return math.max(0, expires - now)
end

local function write(slot, version, expires, id, json)
  redis.call('HSET', SLOTS, slot, table.concat({text(version), text(expires), id, json}, '|'))
  clock = math.max(clock, version)
  if slot ~= POLICIES then return end
  local all = redis.call('HGETALL', SLOTS)
  for i = 1, #all, 2 do
    if is_policy(all[i]) and parse(all[i + 1]).version < version then redis.call('HDEL', SLOTS, all[i]) end
  end
end

local function is_newer(slot, version)
  if is_policy(slot) and read(POLICIES).version >= version then return false end
  return read(slot).version < version
end

local function advance(least)
  if sequence > 0 then sequence = sequence + 1 else sequence = math.max(now, least + 1) end
  redis.call('HSET', STATE, 'sequence', text(sequence), 'clock', text(clock))
  redis.call('PUBLISH', ARGV[1], text(sequence))
end

-- A version that no other command for these slots has: two may have been given in one millisecond.
local function unused(version, slots)
  local taken = {}
  local all = redis.call('HGETALL', SLOTS)
  for i = 1, #all, 2 do taken[parse(all[i + 1]).version] = true end
  while taken[version] do version = version + 1 end
  return version
end

-- id, json, lasts, age, deadline, slots. Refused after the deadline: a frozen server carries out what it has
-- received when it goes on, and then it is too late.
local function give()
  local id, json, lasts, age = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  local deadline = tonumber(ARGV[7])
  if now > deadline then return {0, sequence, {}} end
  local version = math.max(now, clock + 1)
  if age > 0 then version = math.max(1, unused(math.max(now, clock) - age)) end
  local expires = lasts > 0 and math.max(1, now - age + lasts) or 0
  local accepted, written = {}, {}
  for i = 8, #ARGV do
    local slot = ARGV[i]
    local before = read(slot)
    if before.id == id then
      accepted[#accepted + 1] = slot
      version = before.version
    elseif is_newer(slot, version) then
      write(slot, version, expires, id, json)
      accepted[#accepted + 1], written[#written + 1] = slot, slot
    end
  end
  if #written > 0 then
    advance(0)
    redis.call('XADD', STREAM, 'MAXLEN', LONGEST, text(sequence) .. '-0', 'version', text(version),
      'expires', text(expires), 'slots', table.concat(written, '\n'), 'command', json)
  end
  return {version, sequence, accepted}
end

-- instance, known sequence, results of the commands that it has applied.
local function poll()
  local instance, after = ARGV[3], tonumber(ARGV[4])
  redis.call('ZADD', INSTANCES, now, instance)
  for i = 5, #ARGV do
    redis.call('HSET', KEYS[i], instance, ARGV[i])
    redis.call('PEXPIRE', KEYS[i], ACKNOWLEDGED)
  end
  if after == sequence then return {sequence, now, 0, {}} end
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', STREAM, text(after + 1) .. '-0', '+')) do
    local fields = entry[2]
    local number = tonumber(string.match(entry[1], '^(%d+)-'))
    if number ~= after + #found + 1 then return {sequence, now, 1, {}} end
    found[#found + 1] = {number, tonumber(fields[2]), remaining(tonumber(fields[4])), fields[6], fields[8]}
  end
  return {sequence, now, after + #found == sequence and 0 or 1, found}
end

-- instance, known sequence, then what it knows: slot, version, remaining, id, json. Returns all slots.
local function synchronise()
  local instance, least, changed = ARGV[3], tonumber(ARGV[4]), false
  redis.call('ZADD', INSTANCES, now, instance)
  redis.call('ZREMRANGEBYSCORE', INSTANCES, '-inf', now - FORGOTTEN)
  for i = 5, #ARGV, 5 do
    local slot, version, rest = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    if is_newer(slot, version) then
      write(slot, version, rest < 0 and 0 or math.max(1, now + rest), ARGV[i + 3], ARGV[i + 4])
      changed = true
    end
  end
  if changed or sequence == 0 then advance(least) end
  local all, slots, history = redis.call('HGETALL', SLOTS), {}, {}
  for i = 1, #all, 2 do
    local one = parse(all[i + 1])
    slots[#slots + 1] = {all[i], one.version, remaining(one.expires), one.json}
  end
  for _, entry in ipairs(redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', HISTORY)) do
    history[#history + 1] = entry[2][8]
  end
  return {sequence, now, slots, history}
end

-- Who runs, and who has applied the command of KEYS[5].
local function applied()
  return {redis.call('ZRANGEBYSCORE', INSTANCES, now - ALIVE, '+inf'), redis.call('HGETALL', KEYS[5])}
end

local operation = ARGV[2]
if operation == 'give' then return give() end
if operation == 'poll' then return poll() end
if operation == 'synchronise' then return synchronise() end
if operation == 'applied' then return applied() end
return redis.call('ZREM', INSTANCES, ARGV[3])
