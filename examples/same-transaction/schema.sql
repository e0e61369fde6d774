-- The tables of the order APIs. Hapax needs none of this; these are the rules that hold even for a
-- request that never met it: one sent past the gateway, or repeated after its record has expired.

CREATE TABLE orders (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Who called. Two callers may use the same key without knowing of each other.
    caller text    NOT NULL,
    key    text    NOT NULL,
    item   integer NOT NULL CHECK (item > 0),
    -- The last line of defence: a second order for one key is an error, and the error is a retry.
    UNIQUE (caller, key)
);

-- Where an operation spans tables, what belongs together says so, and is there once.
CREATE TABLE charges (
    order_id integer NOT NULL UNIQUE REFERENCES orders,
    cents    integer NOT NULL
);
