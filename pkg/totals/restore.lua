-- Puts staged keys in the place of the partition's own, where it has no totals.
-- KEYS  the staged totals and their place; for each of n minutes, staged and its place; then minutes that go
-- ARGV  for each of the n minutes, when it expires (Unix s)
-- Answers 'done', 'exists' where there are totals already, or 'expired' where what was staged is gone.
local last = 2 + 2 * #ARGV
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 'exists'
end
for i = 1, last, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    return 'expired'
  end
end
for first = last + 1, #KEYS, 2000 do -- unpack puts its values on a stack of 8,000
  redis.call('UNLINK', unpack(KEYS, first, math.min(first + 1999, #KEYS)))
end
for i = 1, last, 2 do
  redis.call('RENAME', KEYS[i], KEYS[i + 1])
end
redis.call('PERSIST', KEYS[2])
for i = 1, #ARGV do
  redis.call('EXPIREAT', KEYS[2 + 2 * i], ARGV[i])
end
return 'done'
