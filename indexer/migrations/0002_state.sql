-- What became of our contracts' objects, as versions: a row holds from the end of `from_block` until that of `until_block` (null: still).
-- `state` has everything; the columns after it are read out of it, to filter and to join by.

CREATE FUNCTION state_bytes(state JSONB, field TEXT) RETURNS BYTEA
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN decode(substr(state ->> field, 3), 'hex');
COMMENT ON FUNCTION state_bytes IS 'An address or bytes32 of a state, null when it has none.';

CREATE TABLE wallets (
    key          BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    state        JSONB NOT NULL,
    owner        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'owner')) STORED,
    PRIMARY KEY (key, from_block)
);
COMMENT ON TABLE wallets IS 'Agent wallets by address: owner, guardian, approvers, operators with their policies, recipients and lanes.';
CREATE UNIQUE INDEX wallets_current ON wallets (key) WHERE until_block IS NULL;
CREATE INDEX wallets_owner ON wallets (owner, key) WHERE until_block IS NULL;
CREATE INDEX wallets_from ON wallets (from_block);
CREATE INDEX wallets_until ON wallets (until_block) WHERE until_block IS NOT NULL;

CREATE TABLE treasuries (
    key          BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    state        JSONB NOT NULL,
    paused       BOOLEAN GENERATED ALWAYS AS ((state ->> 'paused')::boolean) STORED,
    PRIMARY KEY (key, from_block)
);
COMMENT ON TABLE treasuries IS 'Treasuries by address: owners, threshold, guardians, delays, policies with their recipients.';
CREATE UNIQUE INDEX treasuries_current ON treasuries (key) WHERE until_block IS NULL;
CREATE INDEX treasuries_from ON treasuries (from_block);
CREATE INDEX treasuries_until ON treasuries (until_block) WHERE until_block IS NOT NULL;

CREATE TABLE proposals (
    key          BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    state        JSONB NOT NULL,
    treasury     BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'treasury')) STORED,
    status       TEXT GENERATED ALWAYS AS (state ->> 'status') STORED,
    PRIMARY KEY (key, from_block)
);
COMMENT ON TABLE proposals IS 'Orders and changes of treasuries, by the treasury''s address and their id (EIP-712 digest): what is asked, who approved, what became of it.';
CREATE UNIQUE INDEX proposals_current ON proposals (key) WHERE until_block IS NULL;
CREATE INDEX proposals_treasury ON proposals (treasury, status, key) WHERE until_block IS NULL;
CREATE INDEX proposals_from ON proposals (from_block);
CREATE INDEX proposals_until ON proposals (until_block) WHERE until_block IS NOT NULL;

CREATE INDEX blocks_timestamp ON blocks (timestamp);
