-- The tables of benches/sale.sql: those of the ledger, column by column, with ids from a sequence.
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
CREATE TABLE bench.accounts (
    id BIGINT PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0), earned BIGINT NOT NULL DEFAULT 0, spent BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO bench.accounts (id, balance) SELECT id, 1000000000000 FROM generate_series(0, 1132) AS id;
CREATE TABLE bench.transfers (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT now(), kind SMALLINT NOT NULL, reference UUID NOT NULL,
    body BYTEA NOT NULL, memo TEXT, key BYTEA, fingerprint BYTEA
);
CREATE UNIQUE INDEX ON bench.transfers (key) WHERE key IS NOT NULL;
CREATE INDEX ON bench.transfers USING brin (at);
CREATE TABLE bench.entries (
    account BIGINT NOT NULL, transfer BIGINT NOT NULL, amount BIGINT NOT NULL, balance BIGINT NOT NULL, PRIMARY KEY (account, transfer)
);
CREATE TABLE bench.sales (
    transfer BIGINT PRIMARY KEY, id UUID NOT NULL UNIQUE, buyer_id UUID NOT NULL, listing_id UUID NOT NULL, seller_id UUID NOT NULL,
    asset SMALLINT NOT NULL, price BIGINT NOT NULL, content_hash BYTEA NOT NULL, content_size BIGINT NOT NULL,
    content_type TEXT NOT NULL, owned_until TIMESTAMPTZ NOT NULL
);
CREATE INDEX ON bench.sales (buyer_id, listing_id, transfer);
CREATE INDEX ON bench.sales (seller_id, transfer);
