#!lua
-- Adds or replaces items. ARGV from the fourth on: id and value of each.
local after = begin()
if not after then return false end
for first = 4, #ARGV, 2 do
  revive('i:' .. ARGV[first])
  redis.call('HSET', items, ARGV[first], ARGV[first + 1])
end
return {after}
