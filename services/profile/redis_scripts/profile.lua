#!lua flags=no-writes
-- All that a profile is made of, as of one moment.
-- KEYS: prefix of all keys. ARGV: user, most events (-1 = all), most hidden items.
-- Returns four JSON arrays, as texts, which clients read faster than many small answers: names and values of the user's
-- fields; events, newest first; categories and sums of interests; ids of hidden items, newest first.
local prefix, name, most_events, most_hidden = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function json(texts)
  return #texts == 0 and '[]' or cjson.encode(texts)
end

local function payloads(subject)
  local found = {}
  if most_events == 0 then return found end
  local last = most_events > 0 and most_events - 1 or -1
  local members = redis.call('ZRANGE', prefix .. 'events:' .. subject, 0, last, 'REV')
  for first = 1, #members, 1000 do
    local keys = {}
    for each = first, math.min(first + 999, #members) do keys[#keys + 1] = string.sub(members[each], 13) end
    for _, payload in ipairs(redis.call('HMGET', prefix .. 'entries:' .. subject, unpack(keys))) do
      found[#found + 1] = payload
    end
  end
  return found
end

local fields = redis.call('HGETALL', prefix .. 'user:' .. name)
local subject = redis.call('HGET', prefix .. 'user:' .. name, 'subject')
if not subject then return {'[]', '[]', '[]', '[]'} end
return {
  json(fields),
  '[' .. table.concat(payloads(subject), ',') .. ']',
  json(redis.call('HGETALL', prefix .. 'interests:' .. subject)),
  json(redis.call('ZRANGE', prefix .. 'hidden:' .. subject, 0, most_hidden - 1)),
}
