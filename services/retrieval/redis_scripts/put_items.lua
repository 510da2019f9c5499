#!lua
-- Adds or replaces items. ARGV from the third on: id and value of each.
for first = 3, #ARGV, 2 do
  redis.call('HSET', items, ARGV[first], ARGV[first + 1])
  revive('i:' .. ARGV[first])
end
return written()
