#!lua
-- Appends entries that are new, and keeps beside them what profiles draw from them; all of it is one step.
-- The first line makes the server refuse the whole script where it may not write.
-- KEYS: prefix of all keys.
-- ARGV: id for a log that begins, now, edition of interests, half-lives (seconds); then WIDTH values for each entry, see
-- redis_entries.py.
-- Returns one "1" (new) or "0" (known) for each entry, as one text.
local WIDTH = 11
local prefix = KEYS[1]
local now, edition, short_s, long_s = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local about = prefix .. 'about'

redis.call('HSETNX', about, 'log_id', ARGV[1])

-- Exactly as services/profile/interests.py adds: numbers keep all their digits.
local function add_interest(key, category, time, worth)
  local kept = redis.call('HGET', key, category)
  local as_of, short_term, long_term = time, 0, 0
  if kept then
    local words = {}
    for word in string.gmatch(kept, '%S+') do words[#words + 1] = tonumber(word) end
    as_of, short_term, long_term = words[1], words[2], words[3]
  end
  local age = time - as_of
  if age > 0 then
    short_term, long_term = short_term * 2 ^ (-age / short_s), long_term * 2 ^ (-age / long_s)
    as_of, age = time, 0
  end
  short_term = short_term + worth * 2 ^ (age / short_s)
  long_term = long_term + worth * 2 ^ (age / long_s)
  redis.call('HSET', key, category, string.format('%.17g %.17g %.17g', as_of, short_term, long_term))
end

local told = {}
for first = 6, #ARGV, WIDTH do
  local name, new_subject, key, time, personalise, train, payload, action, hidden, category, worth =
    unpack(ARGV, first, first + WIDTH - 1)
  local user = prefix .. 'user:' .. name
  if redis.call('HSETNX', user, 'subject', new_subject) == 1 then redis.call('HSET', user, 'edition', edition) end
  local subject = redis.call('HGET', user, 'subject')
  if redis.call('HEXISTS', prefix .. 'entries:' .. subject, key) == 1 then
    told[#told + 1] = '0'
  else
    local sequence = redis.call('HINCRBY', about, 'sequence', 1)
    redis.call('XADD', prefix .. 'log', string.format('%.0f-0', sequence), 'subject', subject, 'key', key,
      'train', train, 'personalise', personalise, 'recorded_at', now)
    redis.call('HSET', prefix .. 'entries:' .. subject, key, payload)
    if action ~= '' and personalise == '1' then
      redis.call('HSET', user, 'version', sequence, 'updated_at', now)
      redis.call('HINCRBY', user, 'action:' .. action, 1)
      -- The number goes in front, because members of equal times are in the order of their texts.
      redis.call('ZADD', prefix .. 'events:' .. subject, time, string.format('%012x', sequence) .. key)
      if hidden ~= '' then
        -- Times below zero, so that the newest come first and equal ones by id.
        redis.call('ZADD', prefix .. 'hidden:' .. subject, 'LT', string.format('%.17g', -tonumber(time)), hidden)
      end
      -- Sums of another edition are of no use: whoever reads them next sums up anew.
      if category ~= '' and redis.call('HGET', user, 'edition') == edition then
        add_interest(prefix .. 'interests:' .. subject, category, tonumber(time), tonumber(worth))
      end
    end
    told[#told + 1] = '1'
  end
end
return table.concat(told)
