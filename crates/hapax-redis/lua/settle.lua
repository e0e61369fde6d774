-- machine::settle: 'done', 'stands' (it was settled so before), 'expired', 'running', 'settled', or
-- 'superseded' and by which fence.
--
-- KEYS: the record. ARGV: clock_offset, attempt, who ('operator' or 'owner'), the phase to come, its
-- retention, status, cause and answer (empty: none), what happened, in the codec, where to tell it and
-- in which words, and '1' if the answer is waited for.

local key, clock_offset = KEYS[1], ARGV[1]
local phase = ARGV[4]
local now = clock(clock_offset)
local found = redis.call(
    'HMGET', key, 'phase', 'moment', 'expires_at', 'unknown_retention', 'attempt', 'fence',
    'attempts', 'history', 'waited')

local means = found[1] and meaning(found[1], found[2], found[3], found[4], now)
if not means or means == 'expired' then
    return { 'expired' }
elseif found[5] ~= ARGV[2] then
    return { 'superseded', found[6] }
elseif means == 'running' and ARGV[3] == 'operator' then
    return { 'running' }
elseif found[1] == phase then
    if ARGV[12] == '1' then
        touch(key, found[1], found[2], found[3], found[4], clock_offset)
    end
    return { 'stands' }
elseif found[1] ~= 'in_progress' and found[1] ~= 'in_doubt' then
    return { 'settled' }
end

local fields = {
    'phase', phase, 'moment', text(now),
    'history', remember(found[8], now, found[7], ARGV[9]),
}
local function put(name, value)
    if value ~= '' then
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
end
put('status', ARGV[6])
put('cause', ARGV[7])
put('kept', ARGV[8])
local gone_at = false
if ARGV[5] ~= '' then
    gone_at = now + ARGV[5]
    put('expires_at', text(gone_at))
elseif phase == 'in_doubt' and found[4] then
    gone_at = now + found[4]
end

-- A server that is full refuses what needs memory as a script's first write, not as a later one: what
-- it granted it lets come to its end.
redis.call('PERSIST', key)
redis.call('HSET', key, unpack(fields))
if phase == 'in_doubt' then
    redis.call('HDEL', key, 'rerun_of')
else
    redis.call('HDEL', key, 'rerun_of', 'progress', 'cause')
end
if gone_at then
    expire_at(key, gone_at, clock_offset)
end
if found[9] then
    redis.pcall('PUBLISH', ARGV[10], ARGV[11])
end
return { 'done' }
