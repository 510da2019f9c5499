#!lua flags=no-writes
-- What has changed since the revision that the caller knows, oldest change first, as of one moment.
-- ARGV: fourth, the revision at which the caller last knew all; fifth, the most members at once.
-- Returns nil for nothing; else the revision that is known then, the present one, cursor, number of events, generation,
-- and member and value (nil = gone) of each change.
if before == known then return false end
if known < tonumber(redis.call('HGET', about, 'cleared_to')) then
  return redis.error_reply('OTHERLIBRARY it has cleared away deletions that were not known')
end

local members = redis.call('ZRANGE', changed, '(' .. ARGV[3], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[5])
local up_to = before
if #members == tonumber(ARGV[5]) then up_to = tonumber(redis.call('ZSCORE', changed, members[#members])) end

local answer = {up_to, before, unpack(redis.call('HMGET', about, 'cursor', 'counted', 'generation'))}
local function tell(member, hash, id)
  answer[#answer + 1] = member
  answer[#answer + 1] = redis.call('HGET', hash, id)
end

local hash_of, all_known_at = {i = items, v = vectors, t = tallies}, tonumber(ARGV[4])
for _, member in ipairs(members) do
  local kind, id = string.sub(member, 1, 1), string.sub(member, 3)
  tell(member, hash_of[kind], id)
  if kind == 'i' then
    -- A vector that an earlier piece told, when this change of its item was still to come, counts only from now on.
    local vector_at = tonumber(redis.call('ZSCORE', changed, 'v:' .. id) or 0)
    if vector_at > all_known_at and vector_at <= known then tell('v:' .. id, vectors, id) end
  end
end
return answer
