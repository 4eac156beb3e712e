-- The clicks of a link in some minutes and the offset at which they are true, all of one moment.
-- KEYS[1] the totals; KEYS[2..] the minutes.  ARGV: the two fields of the link
-- Answers {next, rule, clicks, bots, clicks, bots, ...}, where what is missing is nil, which ends no list here; or {key},
-- of one that is no hash.
local answer = redis.pcall('HMGET', KEYS[1], 'next', 'rule')
if answer.err then
  return {KEYS[1]}
end
for i = 2, #KEYS do
  local values = redis.pcall('HMGET', KEYS[i], ARGV[1], ARGV[2])
  if values.err then
    return {KEYS[i]}
  end
  answer[2 * i - 1], answer[2 * i] = values[1], values[2]
end
return answer
