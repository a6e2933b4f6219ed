-- What was paid, whichever way: one row per payee. Follows from `events`, `transfers` and `agreements` of the same block and earlier ones.

CREATE FUNCTION hex_to_numeric(digits TEXT) RETURNS NUMERIC
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ('x' || lpad(substr(digits, 1, length(digits) - 16), 8, '0'))::bit(32)::bigint::numeric * 18446744073709551616
         + ('x' || substr(digits, length(digits) - 15, 8))::bit(32)::bigint::numeric * 4294967296
         + ('x' || substr(digits, length(digits) - 7, 8))::bit(32)::bigint::numeric;
COMMENT ON FUNCTION hex_to_numeric IS 'The number that 16 to 24 hexadecimal digits are.';

CREATE TABLE payments (
    block_number BIGINT NOT NULL,
    log_index    INTEGER NOT NULL,
    part         INTEGER NOT NULL,
    tx_index     INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    payer        BYTEA NOT NULL,
    payee        BYTEA NOT NULL,
    token        BYTEA NOT NULL,
    amount       NUMERIC(78, 0) NOT NULL,
    reference    BYTEA,
    PRIMARY KEY (block_number, log_index, part)
);
COMMENT ON TABLE payments IS 'What was paid, one row per payee. A payment is told once: a transfer that an event of ours tells of is not told again.';
COMMENT ON COLUMN payments.block_number IS 'Block of the log that tells of it.';
COMMENT ON COLUMN payments.log_index IS 'Index of that log within the block.';
COMMENT ON COLUMN payments.part IS 'Which of the payees of one log, from 0.';
COMMENT ON COLUMN payments.tx_index IS 'Index of the transaction within the block.';
COMMENT ON COLUMN payments.kind IS
    'x402 (settled by the token or by Permit2), wallet, treasury, router, batch, split, subscription, escrow.';
COMMENT ON COLUMN payments.payer IS 'Who paid: of an escrow payment the buyer.';
COMMENT ON COLUMN payments.payee IS 'Who was paid: of an escrow payment the seller.';
COMMENT ON COLUMN payments.token IS 'What was paid with.';
COMMENT ON COLUMN payments.amount IS 'Base units of the token, before fees that the payee bears.';
COMMENT ON COLUMN payments.reference IS
    'x402: nonce of the authorization (none by Permit2). wallet, router: payment id. batch, split, treasury: reference. escrow, subscription: id.';
CREATE INDEX payments_payer ON payments (payer, block_number, log_index, part);
CREATE INDEX payments_payee ON payments (payee, block_number, log_index, part);
CREATE INDEX payments_kind ON payments (kind, block_number, log_index, part);
CREATE INDEX payments_reference ON payments (reference, block_number, log_index, part) WHERE reference IS NOT NULL;

CREATE TABLE payment_hours (
    hour         TIMESTAMPTZ NOT NULL,
    kind         TEXT NOT NULL,
    token        BYTEA NOT NULL,
    payments     BIGINT NOT NULL,
    amount       NUMERIC(78, 0) NOT NULL,
    PRIMARY KEY (hour, kind, token)
);
COMMENT ON TABLE payment_hours IS 'Payments by hour (UTC) of their block, kind and token: what sums are made of.';
COMMENT ON COLUMN payment_hours.hour IS 'Begin of the hour.';
COMMENT ON COLUMN payment_hours.kind IS 'As in `payments`.';
COMMENT ON COLUMN payment_hours.token IS 'What was paid with.';
COMMENT ON COLUMN payment_hours.payments IS 'How many.';
COMMENT ON COLUMN payment_hours.amount IS 'Sum, in base units of the token.';
