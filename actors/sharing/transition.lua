-- The transition function of one shared breaker: the same as SharedRecord.apply in record.py, which explains it.
-- KEYS: the record, the instances' evidence. ARGV: channel for news, the breaker's name, operation, arguments.
-- `now` is set by the line before this one, milliseconds.

local TURN, ALIVE, WHOLE = 1500, 2500, 1000000
local DAY = 86400000
local FIELDS = {'generation', 'is_open', 'until', 'attempt', 'owner', 'lease_end', 'wanted', 'failed_by',
  'confirming_since', 'watch_until', 'scan_at', 'opened_by'}
local TEXT = {owner = true, failed_by = true}

local r, before = {}, {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(FIELDS))) do
  local name = FIELDS[i]
  if TEXT[name] then r[name] = value or '' else r[name] = tonumber(value or '0') end
  before[name] = r[name]
end

-- Numbers as text: Lua would write large ones with an exponent.
local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  return value
end

local function pack(e)
  return table.concat({e.verdict, text(e.judged_at), text(e.share), text(e.failures), text(e.calls),
    text(e.polled_at)}, '|')
end

local function parse(value)
  local verdict, judged_at, share, failures, calls, polled_at =
    string.match(value, '^(.)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  return {verdict = verdict, judged_at = tonumber(judged_at), share = tonumber(share),
    failures = tonumber(failures), calls = tonumber(calls), polled_at = tonumber(polled_at)}
end

local function unknown(polled_at)
  return {verdict = '-', judged_at = 0, share = 0, failures = 0, calls = 0, polled_at = polled_at}
end

local function all_evidence()
  local found, flat = {}, redis.call('HGETALL', KEYS[2])
  for i = 1, #flat, 2 do found[flat[i]] = parse(flat[i + 1]) end
  return found
end

local function reply(instance, accepted, standing, confirm)
  local held = r.is_open == 1 and now < r.lease_end
  local own = held and r.owner == instance
  return {accepted and 1 or 0, r.generation, r.is_open,
    r.is_open == 1 and math.max(0, r['until'] - now) or 0, r.attempt,
    own and r.lease_end - now or 0, held and 1 or 0, (held and r.wanted == 1) and 1 or 0,
    standing and 1 or 0, confirm or 0, r.opened_by}
end

-- Transitions.

local function advance(known)
  if r.generation > 0 then r.generation = r.generation + 1 else r.generation = math.max(now, known + 1) end
end

local function clear()
  for _, name in ipairs(FIELDS) do
    if name ~= 'generation' then r[name] = TEXT[name] and '' or 0 end
  end
  redis.call('DEL', KEYS[2])
end

local function open(wait, known, opened_by)
  advance(known)
  clear()
  r.is_open, r['until'], r.opened_by = 1, now + wait, opened_by
end

local function close()
  advance(0)
  clear()
end

-- Evidence.

local function drop_old(window)
  r.scan_at = now + window
  local kept = all_evidence()
  for name, e in pairs(kept) do
    if now - e.polled_at > window then
      kept[name] = nil
      redis.call('HDEL', KEYS[2], name)
    elseif now - e.judged_at > window and e.verdict ~= '-' then
      kept[name] = unknown(e.polled_at)
      redis.call('HSET', KEYS[2], name, pack(kept[name]))
    end
  end
  return kept
end

local function is_enough(t, quorum, rate, minimum_calls)
  if t.bad < quorum or t.bad <= t.good then return false end
  if rate > 0 then return t.calls >= minimum_calls and t.failures * WHOLE >= rate * t.calls end
  return t.share >= WHOLE
end

local function judge_evidence(a)
  local t = {bad = 0, good = 0, share = 0, failures = 0, calls = 0}
  for _, e in pairs(drop_old(a.window)) do
    if e.verdict ~= '-' then
      t.failures, t.calls = t.failures + e.failures, t.calls + e.calls
      if e.verdict == 'b' then t.bad, t.share = t.bad + 1, t.share + e.share else t.good = t.good + 1 end
    end
  end
  if t.bad == 0 then r.watch_until = 0 end
  if not is_enough(t, a.quorum, a.rate, a.minimum_calls) then
    r.confirming_since = 0
    return reply(a.instance, false, t.bad > 0)
  end
  if r.confirming_since == 0 then r.confirming_since = now end
  local rest = r.confirming_since + a.confirm - now
  if rest > 0 then return reply(a.instance, false, true, rest) end
  open(a.wait, a.known_generation, t.bad)
  return reply(a.instance, true)
end

local function report(a)
  if r.generation == 0 and a.known_open == 1 then
    advance(a.known_generation)
    r.is_open, r['until'], r.attempt = 1, now + a.known_wait, a.known_attempt
  end
  local e
  if r.is_open == 1 then
    e = unknown(now)
  elseif a.verdict ~= '-' then
    e = {verdict = a.verdict, judged_at = now, share = a.share, failures = a.failures, calls = a.calls,
      polled_at = now}
  else
    local known = redis.call('HGET', KEYS[2], a.instance)
    e = known and parse(known) or unknown(now)
    e.polled_at = now
  end
  redis.call('HSET', KEYS[2], a.instance, pack(e))
  redis.call('PEXPIRE', KEYS[2], 2 * a.window + ALIVE)
  if r.is_open == 1 then
    if r.scan_at <= now then drop_old(a.window) end
    return reply(a.instance, false)
  end
  if a.verdict == 'b' then r.watch_until = now + a.window end
  if r.watch_until <= now and r.scan_at > now then return reply(a.instance, false) end
  return judge_evidence(a)
end

-- The lease.

local function has_turn(a)
  if r.wanted == 1 then return a.has_callers == 1 end
  if r.failed_by ~= a.instance then return true end
  for name, e in pairs(all_evidence()) do
    if name ~= a.instance and now - e.polled_at <= ALIVE then return false end
  end
  return true
end

local function acquire(a)
  if r.is_open == 0 or now < r['until'] then return false end
  if now < r.lease_end then
    if r.owner == a.instance then
      if r.wanted == 1 then return false end
      r.lease_end = now + a.lease
      return true
    end
    if a.has_callers == 1 then r.wanted = 1 end
    return false
  end
  if r.owner ~= '' then r.failed_by, r.owner = r.owner, '' end
  local free_since = math.max(r['until'], r.lease_end)
  if now < free_since + TURN and not has_turn(a) then return false end
  advance(0)
  r.owner, r.lease_end, r.wanted = a.instance, now + a.lease, 0
  return true
end

local function is_valid(a)
  return r.is_open == 1 and r.owner == a.instance and r.generation == a.generation and now < r.lease_end
end

local function judge_probe(a)
  if not is_valid(a) then return false end
  if a.passed == 1 then close() return true end
  advance(0)
  r['until'], r.attempt = now + a.wait, r.attempt + 1
  r.owner, r.lease_end, r.wanted = '', 0, 0
  r.failed_by = a.instance
  return true
end

local function release(a)
  if not is_valid(a) then return false end
  advance(0)
  r.owner, r.lease_end = '', 0
  if r.wanted == 1 then r['until'] = now end
  return true
end

local function override(a)
  if a.opens == 1 then open(a.wait, 0, 0)
  elseif r.generation > 0 then close()
  else clear() end
end

local ARGUMENTS = {
  report = {'instance', 'verdict', 'share', 'failures', 'calls', 'wait', 'quorum', 'window', 'confirm', 'rate',
    'minimum_calls', 'known_generation', 'known_open', 'known_wait', 'known_attempt'},
  acquire = {'instance', 'lease', 'has_callers'},
  result = {'instance', 'generation', 'passed', 'wait'},
  release = {'instance', 'generation'},
  leave = {'instance'},
  override = {'instance', 'opens', 'wait'},
}

local operation, a = ARGV[3], {}
for i, name in ipairs(ARGUMENTS[operation]) do
  local value = ARGV[3 + i]
  if name == 'instance' or name == 'verdict' then a[name] = value else a[name] = tonumber(value) end
end

local answer
if operation == 'report' then answer = report(a)
elseif operation == 'acquire' then answer = reply(a.instance, acquire(a))
elseif operation == 'result' then answer = reply(a.instance, judge_probe(a))
elseif operation == 'release' then answer = reply(a.instance, release(a))
elseif operation == 'leave' then
  redis.call('HDEL', KEYS[2], a.instance)
  answer = reply(a.instance, true)
else override(a) answer = reply(a.instance, true) end

local changed = {}
for _, name in ipairs(FIELDS) do
  if r[name] ~= before[name] then
    changed[#changed + 1] = name
    changed[#changed + 1] = text(r[name])
  end
end
if #changed > 0 then
  redis.call('HSET', KEYS[1], unpack(changed))
  redis.call('PEXPIRE', KEYS[1], DAY)
  if r.generation ~= before.generation then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
end
return answer
