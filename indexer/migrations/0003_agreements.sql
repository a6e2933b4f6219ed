-- Agreements in escrow, as versions like those of wallets and treasuries.

CREATE TABLE agreements (
    key          BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    state        JSONB NOT NULL,
    status       TEXT GENERATED ALWAYS AS (state ->> 'status') STORED,
    buyer        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'buyer')) STORED,
    seller       BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'seller')) STORED,
    token        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'token')) STORED,
    funded       NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'funded')::numeric) STORED,
    released     NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'released')::numeric) STORED,
    refunded     NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'refunded')::numeric) STORED,
    PRIMARY KEY (key, from_block)
);
COMMENT ON TABLE agreements IS 'Agreements by id (the EIP-712 hash of their terms). Amounts are base units of the token.';
CREATE UNIQUE INDEX agreements_current ON agreements (key) WHERE until_block IS NULL;
CREATE INDEX agreements_buyer ON agreements (buyer, status, key) WHERE until_block IS NULL;
CREATE INDEX agreements_seller ON agreements (seller, status, key) WHERE until_block IS NULL;
CREATE INDEX agreements_from ON agreements (from_block);
CREATE INDEX agreements_until ON agreements (until_block) WHERE until_block IS NOT NULL;
