-- The clicks of a link in some minutes and the offset at which they are true, all of one moment.
-- KEYS[1] the totals; KEYS[2..] the minutes.  ARGV: link
-- Answers {next, rule, clicks, bots, clicks, bots, ...}; what is missing is nil, which ends no list here.
local answer = redis.call('HMGET', KEYS[1], 'next', 'rule')
for i = 2, #KEYS do
  local values = redis.call('HMGET', KEYS[i], 'c:' .. ARGV[1], 'b:' .. ARGV[1])
  answer[#answer + 1], answer[#answer + 2] = values[1], values[2]
end
return answer
