-- Adds what a stretch of the log counts to the totals of a partition, if they end where the stretch begins.
--
-- KEYS[1]   the totals; KEYS[2..] the minutes
-- ARGV      rule, from, to, last, number of links, then for each: link, clicks, bots, time of the newest
--           then for each minute: when it expires (Unix s), number of links, then for each: link, clicks, bots
--
-- Answers {'applied'}, {'refused', next}, {'rule', rule} or {'key', key, problem}.
--
-- Everything is checked and computed before the first write: a script that fails in its middle leaves what it wrote, and
-- the totals would be ahead of their offset. Lua's numbers are doubles, exact up to 2^53; a sum above that is refused.
local exact = 9007199254740992
local totals = KEYS[1]

for i = 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[i])['ok']
  if kind ~= 'hash' and kind ~= 'none' then
    return {'key', KEYS[i], 'it is a ' .. kind .. ' and no hash'}
  end
end

-- Strings are compared: a missing key is '-1', and a number would never be equal to an argument.
local stored = redis.call('HMGET', totals, 'next', 'rule')
if stored[1] and stored[2] ~= ARGV[1] then
  return {'rule', stored[2] or ''}
end
local have = stored[1] or '-1'
if have ~= ARGV[2] then
  return {'refused', have}
end

-- unpack puts its values on a stack of 8,000.
local chunk = 2000

-- sum returns the fields of key, added to amounts. Fields that are missing count as 0.
local function sum(key, fields, amounts)
  local values = {}
  for first = 1, #fields, chunk do
    local last = math.min(first + chunk - 1, #fields)
    local now = redis.call('HMGET', key, unpack(fields, first, last))
    for i = first, last do
      local was = now[i - first + 1] or '0'
      local n = tonumber(was)
      if n == nil or n + amounts[i] > exact then
        return nil, 'field ' .. fields[i] .. ' is ' .. was .. ', to which ' .. amounts[i] .. ' cannot be added'
      end
      values[i] = string.format('%.0f', n + amounts[i])
    end
  end
  return values
end

local writes = {} -- {key, {field, value, ...}}

-- take reads links from ARGV and returns what is to be set and where it stopped reading.
local function take(key, at, stamped)
  local fields, amounts, set = {}, {}, {}
  local n = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, n do
    local link, bots = ARGV[at], tonumber(ARGV[at + 2])
    fields[#fields + 1], amounts[#amounts + 1] = 'c:' .. link, tonumber(ARGV[at + 1])
    if bots > 0 then
      fields[#fields + 1], amounts[#amounts + 1] = 'b:' .. link, bots
    end
    at = at + 3
    if stamped then
      set[#set + 1], set[#set + 2] = 't:' .. link, ARGV[at]
      at = at + 1
    end
  end
  local values, problem = sum(key, fields, amounts)
  if not values then
    return nil, problem
  end
  for i = 1, #fields do
    set[#set + 1], set[#set + 2] = fields[i], values[i]
  end
  return set, at
end

local set, at = take(totals, 5, true)
if not set then
  return {'key', totals, at}
end
writes[1] = {totals, set}
local expiries = {}
local now = tonumber(redis.call('TIME')[1])
for i = 2, #KEYS do
  local expires = tonumber(ARGV[at])
  set, at = take(KEYS[i], at + 1, false)
  if not set then
    return {'key', KEYS[i], at}
  end
  if expires > now then
    writes[#writes + 1] = {KEYS[i], set}
    expiries[#expiries + 1] = {KEYS[i], expires}
  end
end

for _, write in ipairs(writes) do
  local key, pairs = write[1], write[2]
  for first = 1, #pairs, chunk do
    redis.call('HSET', key, unpack(pairs, first, math.min(first + chunk - 1, #pairs)))
  end
end
for _, expiry in ipairs(expiries) do
  redis.call('EXPIREAT', expiry[1], expiry[2])
end
redis.call('HSET', totals, 'next', ARGV[3], 'rule', ARGV[1], 'last', ARGV[4])
return {'applied'}
