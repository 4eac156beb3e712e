-- Puts staged keys in the place of the partition's own, where it has no totals.
-- KEYS: for each, the staged key and its place; the totals first.  ARGV: for each minute, when it expires (Unix s)
-- Answers 1, or 0 where there are totals already.
if redis.call('HEXISTS', KEYS[2], 'next') == 1 then
  return 0
end
for i = 1, #KEYS, 2 do
  redis.call('RENAME', KEYS[i], KEYS[i + 1])
end
redis.call('PERSIST', KEYS[2])
for i = 1, #ARGV do
  redis.call('EXPIREAT', KEYS[2 + 2 * i], ARGV[i])
end
return 1
