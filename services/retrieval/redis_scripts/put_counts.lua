#!lua
-- Goes on counting. ARGV from the fourth on: cursor, number of events; how many sums there are, id and value of each;
-- then the ids of those that have faded.
local after = begin()
if not after then return false end
redis.call('HSET', about, 'cursor', ARGV[4], 'counted', ARGV[5])

local faded_from = 7 + 2 * tonumber(ARGV[6])
for first = 7, faded_from - 1, 2 do
  revive('t:' .. ARGV[first])
  redis.call('HSET', tallies, ARGV[first], ARGV[first + 1])
end
for first = faded_from, #ARGV do
  local id = ARGV[first]
  if redis.call('HEXISTS', tallies, id) == 1 then
    bury('t:' .. id)
    redis.call('HDEL', tallies, id)
  end
end
return {after}
