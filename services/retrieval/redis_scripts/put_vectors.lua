#!lua
-- Adds or replaces the vectors of items that are there with the text that was embedded.
-- ARGV from the third on: id, fingerprint of the text, and value of each.
for first = 3, #ARGV, 3 do
  local id, text = ARGV[first], ARGV[first + 1] .. ' '
  local item = redis.call('HGET', items, id)
  if item and string.sub(item, 1, #text) == text then
    redis.call('HSET', vectors, id, ARGV[first + 2])
    note('v:' .. id)
  end
end
return written()
