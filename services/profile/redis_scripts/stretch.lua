#!lua flags=no-writes
-- A piece of the log.
-- KEYS: prefix of all keys. ARGV: log id, sequence number after which it begins, most entries.
-- Returns nil where the log is another one; else its newest sequence number, then a text for each entry: number,
-- pseudonym, kind, train (0 or 1) and payload, with blanks between them; without a payload where that was erased.
local prefix, log_id, after, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local about = prefix .. 'about'

if redis.call('HGET', about, 'log_id') ~= log_id then return false end

local told = {redis.call('HGET', about, 'sequence') or '0'}
local from = string.format('%.0f-0', after + 1)
for _, entry in ipairs(redis.call('XRANGE', prefix .. 'log', from, '+', 'COUNT', most)) do
  local subject, key, train = entry[2][2], entry[2][4], entry[2][6]
  local payload = redis.call('HGET', prefix .. 'entries:' .. subject, key) or ''
  told[#told + 1] = table.concat({string.match(entry[1], '%d+'), subject, string.sub(key, 1, 1), train, payload}, ' ')
end
return told
