-- Removes a record if it has expired, and says how many it removed. The server does it by itself, by
-- its own clock; this is for a clock with an offset.
--
-- KEYS: the record. ARGV: clock_offset.

local found = redis.call(
    'HMGET', KEYS[1], 'phase', 'moment', 'expires_at', 'unknown_retention')
if found[1]
    and meaning(found[1], found[2], found[3], found[4], clock(ARGV[1])) == 'expired' then
    return redis.call('DEL', KEYS[1])
end
return 0
