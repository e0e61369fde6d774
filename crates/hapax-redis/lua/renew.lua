-- machine::renew: 'renewed' and the lease, 'absent' (expired for good), 'expired', 'settled', or
-- 'superseded' and by which fence.
--
-- KEYS: the record. ARGV: clock_offset, attempt, term, and the finished steps, if they are to be
-- replaced.

local key, clock_offset = KEYS[1], ARGV[1]
local now = clock(clock_offset)
local found = redis.call(
    'HMGET', key, 'phase', 'moment', 'expires_at', 'unknown_retention', 'attempt', 'attempts',
    'claimed_at', 'fence', 'rerun_of', 'progress')

if not found[1] then
    -- A write that changes nothing: a server that may not write, or cannot save, refuses it as it
    -- refuses a claim. Somebody may ask for nothing else, to know whether the store is ready. One that
    -- is full does it, and all it refuses is what is new.
    redis.call('PERSIST', key)
    return { 'absent' }
elseif meaning(found[1], found[2], found[3], found[4], now) == 'expired' then
    return { 'expired' }
elseif found[5] ~= ARGV[2] then
    return { 'superseded', found[8] }
elseif found[1] ~= 'in_progress' then
    return { 'settled' }
end

-- A clock that stepped back must not shorten what the owner was promised.
local lapses_at = math.max(now + ARGV[3], tonumber(found[2]))
-- A server that is full refuses what needs memory as a script's first write, not as a later one: what
-- it granted it lets come to its end.
redis.call('PERSIST', key)
redis.call('HSET', key, 'moment', text(lapses_at))
if ARGV[4] then
    redis.call('HSET', key, 'progress', ARGV[4])
    found[10] = ARGV[4]
end
if found[4] then
    expire_at(key, lapses_at + found[4], clock_offset)
end
return { 'renewed', found[6], found[7], found[8], text(lapses_at), found[9], found[10] }
