-- What the steps have in common; put before each of them.
--
-- The steps say in Lua what `crates/hapax/src/machine.rs` says, and the conformance suite compares the
-- two. A script runs alone on its server, so each step is atomic; it names one key, so that a cluster
-- needs no more than a single server does.
--
-- Times are microseconds since 1970 by this server's clock, spans are microseconds. Both stay below
-- 2^53, which is as far as a number here is exact, and are written without exponent.

local function text(number)
    return string.format('%.0f', number)
end

-- The time, and `clock_offset`, which is 0 but in tests.
local function clock(clock_offset)
    local time = redis.call('TIME')
    return math.max(0, time[1] * 1000000 + time[2] + clock_offset)
end

-- What a record means at a moment: Record::status.
local function meaning(phase, moment, expires_at, unknown_retention, at)
    if expires_at and tonumber(expires_at) <= at then
        return 'expired'
    elseif phase == 'completed' or phase == 'released' then
        return phase
    elseif phase == 'in_progress' and at < tonumber(moment) then
        return 'running'
    elseif unknown_retention and moment + unknown_retention <= at then
        return 'expired'
    elseif phase == 'in_progress' then
        return 'lapsed'
    end
    return 'in_doubt'
end

-- Lets the server remove the key by itself, one second after the record has expired: until then the
-- record lends its fence to the next one, and the steps alone say what is expired.
local function expire_at(key, at, clock_offset)
    redis.call('PEXPIREAT', key, text(math.ceil((at - clock_offset) / 1000) + 1000))
end

-- Writes the record's time to live as it is. Since version 7.2, a server waits (WAIT, WAITAOF) for what
-- the connection itself has written last: who is shown what another one wrote has to write something to
-- wait for that too. This needs no memory, and a server that is full does it.
local function touch(key, phase, moment, expires_at, unknown_retention, clock_offset)
    if expires_at then
        expire_at(key, expires_at, clock_offset)
    elseif unknown_retention and phase ~= 'completed' and phase ~= 'released' then
        expire_at(key, moment + unknown_retention, clock_offset)
    else
        -- There is none; both count as writes.
        redis.call('PEXPIREAT', key, '9007199254740991')
        redis.call('PERSIST', key)
    end
end

-- A history with one more entry: History::with, in version 1 of the codec. That is a version byte, a
-- count, and entries of a time (8 bytes), an attempt's number (4), what happened (1) and its details.
local function remember(history, at, attempts, what)
    local entry = struct.pack('<I8I4', at, attempts) .. what
    if not history then
        return '\1\1' .. entry
    end
    local count = string.byte(history, 2)
    if string.byte(history, 1) ~= 1 or not count then
        error('the history has a version that this release cannot write')
    end
    if count < 16 then
        return '\1' .. string.char(count + 1) .. string.sub(history, 3) .. entry
    end
    -- The first entry says when the key was first seen, which stays worth knowing: the second goes.
    local details = { [0] = 0, 3, 1, 3 }
    local first_end = 2 + 13 + details[string.byte(history, 2 + 13)]
    local second_end = first_end + 13 + details[string.byte(history, first_end + 13)]
    return string.sub(history, 1, first_end) .. string.sub(history, second_end + 1) .. entry
end
