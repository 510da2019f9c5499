#!lua
-- Goes on counting from where the caller says it is; returns nil where it is elsewhere.
-- ARGV from the third on: present cursor, number of events, generation; new cursor, number of events;
-- how many sums there are, id and value of each; then the ids of those that have faded.
if not counts_are_at(3) then return false end
redis.call('HSET', about, 'cursor', ARGV[6], 'counted', ARGV[7])

local faded_from = 9 + 2 * tonumber(ARGV[8])
for first = 9, faded_from - 1, 2 do
  redis.call('HSET', tallies, ARGV[first], ARGV[first + 1])
  revive('t:' .. ARGV[first])
end
for first = faded_from, #ARGV do
  if redis.call('HDEL', tallies, ARGV[first]) == 1 then bury('t:' .. ARGV[first]) end
end
revision = revision + 1 -- of the cursor
return written()
