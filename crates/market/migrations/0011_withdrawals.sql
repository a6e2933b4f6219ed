-- USDC goes out: asked for with a hold of the ledger, paid in batches through the PaymentRouter.

CREATE TABLE batches (
    id                  UUID PRIMARY KEY,
    payer               BYTEA NOT NULL CHECK (length(payer) = 20),
    authorization_nonce BYTEA NOT NULL UNIQUE CHECK (length(authorization_nonce) = 32),
    total               BIGINT NOT NULL CHECK (total > 0),
    valid_before        BIGINT NOT NULL,
    call                BYTEA NOT NULL,
    status              TEXT NOT NULL CHECK (status IN ('open', 'paid', 'void')),
    transaction_hash    BYTEA,
    created_at          TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE batches IS 'Withdrawals paid together by one authorization of the custody account, whose nonce the USDC contract burns: whatever is sent, and however often, pays once.';
COMMENT ON COLUMN batches.authorization_nonce IS 'Hash of payer, batch id, token and every payee with its amount (the router''s batchNonce).';
COMMENT ON COLUMN batches.valid_before IS 'Unix seconds from which on the authorization is worth nothing.';
COMMENT ON COLUMN batches.call IS 'The call of the router, with the signature.';
COMMENT ON COLUMN batches.status IS 'open: it may be paid yet. paid: in a final block. void: no final block before valid_before has it.';
CREATE INDEX batches_open ON batches (id) WHERE status = 'open';

CREATE TABLE batch_attempts (
    hash          BYTEA PRIMARY KEY,
    batch_id      UUID NOT NULL REFERENCES batches,
    payer         BYTEA NOT NULL,
    account_nonce BIGINT NOT NULL,
    raw           BYTEA NOT NULL,
    first_sent_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    sent_at       TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE batch_attempts IS 'Signed transactions that carry a batch, written before they are broadcast.';
CREATE INDEX batch_attempts_nonce ON batch_attempts (payer, account_nonce, first_sent_at);

CREATE TABLE withdrawals (
    id         UUID PRIMARY KEY,
    agent_id   UUID NOT NULL,
    recipient  BYTEA NOT NULL CHECK (length(recipient) = 20),
    amount     BIGINT NOT NULL CHECK (amount > 0),
    status     TEXT NOT NULL
        CHECK (status IN ('awaiting_approval', 'pending', 'processing', 'completed', 'rejected', 'cancelled', 'failed')),
    batch_id   UUID REFERENCES batches,
    attempts   SMALLINT NOT NULL DEFAULT 0,
    reason     TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at   TIMESTAMPTZ,
    CHECK ((status IN ('processing', 'completed')) = (batch_id IS NOT NULL))
);
COMMENT ON TABLE withdrawals IS 'Written in one transaction with the hold of the same id, which is paid out when the withdrawal is final on chain and given back when it ends otherwise.';
COMMENT ON COLUMN withdrawals.status IS 'awaiting_approval, pending (goes with the next batch), processing (in a batch), completed (final on chain), rejected, cancelled, failed.';
COMMENT ON COLUMN withdrawals.attempts IS 'Batches it was in that came to nothing.';
COMMENT ON COLUMN withdrawals.reason IS 'Why it was rejected or failed, or where the money waits.';
CREATE INDEX withdrawals_agent ON withdrawals (agent_id, id);
CREATE INDEX withdrawals_day ON withdrawals (agent_id, created_at);
CREATE INDEX withdrawals_open ON withdrawals (status, id) WHERE status IN ('awaiting_approval', 'pending');
CREATE INDEX withdrawals_batch ON withdrawals (batch_id) WHERE batch_id IS NOT NULL;

CREATE TABLE books (
    only_row   BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    checked_to BIGINT NOT NULL,
    scanned_to BIGINT NOT NULL,
    owed       BIGINT NOT NULL,
    covered    BIGINT NOT NULL,
    violation  TEXT,
    checked_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE books IS 'What the last look at the ledger''s books found. No withdrawal leaves without a recent one that found nothing wrong.';
COMMENT ON COLUMN books.checked_to IS 'Every transfer up to this one is balanced, has its entries, and left the balances it says.';
COMMENT ON COLUMN books.scanned_to IS 'The account after which the next look compares balances with last entries.';
COMMENT ON COLUMN books.owed IS 'Base units of USDC that the ledger owes.';
COMMENT ON COLUMN books.covered IS 'Base units of USDC that the custody account has, in final blocks and settled x402 payments.';
INSERT INTO books (checked_to, scanned_to, owed, covered, checked_at) VALUES (0, 0, 0, 0, 'epoch');
COMMENT ON COLUMN batches.id IS 'UUIDv7; the reference of the batch on chain.';
COMMENT ON COLUMN batches.payer IS 'The custody account.';
COMMENT ON COLUMN batches.total IS 'Base units of USDC.';
COMMENT ON COLUMN batches.transaction_hash IS 'The transaction that paid it, once it is final.';
COMMENT ON COLUMN batches.created_at IS 'When it was signed.';
COMMENT ON COLUMN batch_attempts.hash IS 'Hash of the transaction.';
COMMENT ON COLUMN batch_attempts.batch_id IS 'What it carries.';
COMMENT ON COLUMN batch_attempts.payer IS 'Who sends it.';
COMMENT ON COLUMN batch_attempts.account_nonce IS 'Nonce of the sending account.';
COMMENT ON COLUMN batch_attempts.raw IS 'The signed transaction.';
COMMENT ON COLUMN batch_attempts.first_sent_at IS 'When it was written.';
COMMENT ON COLUMN batch_attempts.sent_at IS 'When it was broadcast last.';
COMMENT ON COLUMN withdrawals.id IS 'UUIDv7; also of the hold.';
COMMENT ON COLUMN withdrawals.agent_id IS 'Who asked.';
COMMENT ON COLUMN withdrawals.recipient IS 'Who is paid.';
COMMENT ON COLUMN withdrawals.amount IS 'Base units of USDC.';
COMMENT ON COLUMN withdrawals.batch_id IS 'The batch that pays it.';
COMMENT ON COLUMN withdrawals.created_at IS 'When it was asked for.';
COMMENT ON COLUMN withdrawals.ended_at IS 'When it was completed, rejected, cancelled or failed.';
COMMENT ON COLUMN books.only_row IS 'There is one.';
COMMENT ON COLUMN books.violation IS 'What is wrong, if anything.';
COMMENT ON COLUMN books.checked_at IS 'When it was looked.';
