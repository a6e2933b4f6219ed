-- Subscriptions and services, as versions like those of wallets and treasuries.

CREATE TABLE subscriptions (
    key          BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    state        JSONB NOT NULL,
    status       TEXT GENERATED ALWAYS AS (state ->> 'status') STORED,
    payer        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'payer')) STORED,
    payee        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'payee')) STORED,
    token        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'token')) STORED,
    price        NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'price')::numeric) STORED,
    charged      NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'charged')::numeric) STORED,
    PRIMARY KEY (key, from_block)
);
COMMENT ON TABLE subscriptions IS 'Subscriptions by id (the EIP-712 hash of their terms). Amounts are base units of the token.';
CREATE UNIQUE INDEX subscriptions_current ON subscriptions (key) WHERE until_block IS NULL;
CREATE INDEX subscriptions_payer ON subscriptions (payer, status, key) WHERE until_block IS NULL;
CREATE INDEX subscriptions_payee ON subscriptions (payee, status, key) WHERE until_block IS NULL;
CREATE INDEX subscriptions_from ON subscriptions (from_block);
CREATE INDEX subscriptions_until ON subscriptions (until_block) WHERE until_block IS NOT NULL;

CREATE TABLE services (
    key          BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    state        JSONB NOT NULL,
    owner        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'owner')) STORED,
    payee        BYTEA GENERATED ALWAYS AS (chain.state_bytes(state, 'payee')) STORED,
    retired      BOOLEAN GENERATED ALWAYS AS ((state ->> 'retired')::boolean) STORED,
    stake        NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'stake')::numeric) STORED,
    volume       NUMERIC(78, 0) GENERATED ALWAYS AS ((state ->> 'volume')::numeric) STORED,
    PRIMARY KEY (key, from_block)
);
COMMENT ON TABLE services IS 'Services by id: owner, parties, offer, stake and what payers said. Stake and volume are base units.';
CREATE UNIQUE INDEX services_current ON services (key) WHERE until_block IS NULL;
CREATE INDEX services_owner ON services (owner, key) WHERE until_block IS NULL;
CREATE INDEX services_payee ON services (payee, key) WHERE until_block IS NULL;
CREATE INDEX services_from ON services (from_block);
CREATE INDEX services_until ON services (until_block) WHERE until_block IS NOT NULL;
