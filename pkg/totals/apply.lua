-- Adds what a stretch of the log counts to the totals of a partition, if they end where the stretch begins.
--
-- KEYS[1]   the totals; KEYS[2..m+1] the minutes; the rest, other minutes that go if the totals are new
-- ARGV      rule, from, to, last, m
--           what is added to the totals: n, then n fields, then n numbers
--           what is set there: n, then n fields, each followed by its value
--           for each minute: when it expires (Unix s), and what is added to it, in the same form or '=', which is what is
--           added to the totals
--
-- Answers {'applied'}, {'refused', next}, {'rule', rule} or {'key', key, problem}.
--
-- Everything is checked and computed before the first write: a script that fails in its middle leaves what it wrote, and
-- the totals would be ahead of their offset.
local totals, minutes = KEYS[1], tonumber(ARGV[5])

for i = 1, minutes + 1 do
  local kind = redis.call('TYPE', KEYS[i])['ok']
  if kind ~= 'hash' and kind ~= 'none' then
    return {'key', KEYS[i], 'it is a ' .. kind .. ' and no hash'}
  end
end

-- Strings are compared: a missing key is '-1', and a number would never be equal to an argument.
local stored = redis.call('HMGET', totals, 'next', 'rule')
local new = not stored[1]
if not new and stored[2] ~= ARGV[1] then
  return {'rule', stored[2] or ''}
end
local have = stored[1] or '-1'
if have ~= ARGV[2] then
  return {'refused', have}
end
if new and redis.call('EXISTS', totals) == 1 then
  return {'key', totals, 'it has fields and no next'} -- nobody knows of which offset they are
end

-- Lua's numbers are doubles, exact up to this. n + amount may round down to it, so that is not compared.
local exact = 9007199254740992

-- unpack puts its values on a stack of 8,000.
local chunk = 2000

local writes = {} -- commands, each a list of its words

-- add plans what ARGV adds to key, beginning at the number of fields. Fields that are missing count as 0. It returns what
-- keeps it from that, if something does.
local function add(key, at)
  local n = tonumber(ARGV[at])
  for first = 1, n, chunk do
    local last = math.min(first + chunk - 1, n)
    local had = new and {} or redis.call('HMGET', key, unpack(ARGV, at + first, at + last))
    local write, w = {'HSET', key}, 2
    for i = first, last do
      local field, amount = ARGV[at + i], tonumber(ARGV[at + n + i])
      local was = tonumber(had[i - first + 1] or 0)
      if not (was and was >= 0 and was <= exact - amount and was % 1 == 0) then
        return 'field ' .. field .. ' is ' .. had[i - first + 1] .. ', to which ' .. amount .. ' cannot be added'
      end
      write[w + 1], write[w + 2] = field, string.format('%d', was + amount)
      w = w + 2
    end
    writes[#writes + 1] = write
  end
end

-- behind returns where what add reads ends.
local function behind(at)
  if ARGV[at] == '=' then
    return at + 1
  end
  return at + 2 * tonumber(ARGV[at]) + 1
end

local problem = add(totals, 6)
if problem then
  return {'key', totals, problem}
end
local at = behind(6)
local stamps = 2 * tonumber(ARGV[at])
for first = 1, stamps, chunk do
  writes[#writes + 1] = {'HSET', totals, unpack(ARGV, at + first, at + math.min(first + chunk - 1, stamps))}
end
at = at + stamps + 1

local now = tonumber(redis.call('TIME')[1])
for i = 2, minutes + 1 do
  local expires = ARGV[at]
  if tonumber(expires) > now then
    problem = add(KEYS[i], ARGV[at + 1] == '=' and 6 or at + 1)
    if problem then
      return {'key', KEYS[i], problem}
    end
    writes[#writes + 1] = {'EXPIREAT', KEYS[i], expires}
  end
  at = behind(at + 1)
end

if new then -- minutes that outlived their totals would be counted twice
  for first = 2, #KEYS, chunk do
    redis.call('UNLINK', unpack(KEYS, first, math.min(first + chunk - 1, #KEYS)))
  end
end
for _, write in ipairs(writes) do
  redis.call(unpack(write))
end
redis.call('HSET', totals, 'next', ARGV[3], 'rule', ARGV[1], 'last', ARGV[4])
return {'applied'}
