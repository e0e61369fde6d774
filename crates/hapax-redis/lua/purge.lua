-- Removes a record that is not running, or by force: 'absent', 'refused' or 'removed'.
--
-- KEYS: the record. ARGV: clock_offset, '1' for by force.

local found = redis.call(
    'HMGET', KEYS[1], 'phase', 'moment', 'expires_at', 'unknown_retention')
if not found[1] then
    return 'absent'
end
local means = meaning(found[1], found[2], found[3], found[4], clock(ARGV[1]))
if means == 'running' and ARGV[2] ~= '1' then
    return 'refused'
end
redis.call('DEL', KEYS[1])
return 'removed'
