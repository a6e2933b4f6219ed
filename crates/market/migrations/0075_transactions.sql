-- Purchases in steps, paid into a hold of the ledger as well as through the escrow; what becomes of them, and what the parties say.

ALTER TABLE transactions
    ALTER COLUMN chain_id DROP NOT NULL,
    ALTER COLUMN escrow DROP NOT NULL,
    ALTER COLUMN agreement_id DROP NOT NULL,
    ALTER COLUMN terms DROP NOT NULL,
    ADD COLUMN method              TEXT NOT NULL DEFAULT 'escrow' CHECK (method IN ('balance', 'token', 'escrow')),
    ADD COLUMN price               BIGINT CHECK (price > 0),
    ADD COLUMN content_hash        BYTEA CHECK (length(content_hash) = 32),
    ADD COLUMN read_at             TIMESTAMPTZ,
    ADD COLUMN status              TEXT CHECK (status IN
        ('payment_pending', 'payment_confirmed', 'delivered', 'disputed', 'verified', 'completed', 'refunded', 'failed', 'expired')),
    ADD COLUMN step                TEXT CHECK (step IN ('hold', 'settle', 'void')),
    ADD COLUMN step_at             TIMESTAMPTZ,
    ADD COLUMN due_at              TIMESTAMPTZ,
    ADD COLUMN ended_at            TIMESTAMPTZ,
    ADD COLUMN given_back          BIGINT NOT NULL DEFAULT 0 CHECK (given_back >= 0),
    ADD COLUMN to_seller           BIGINT CHECK (to_seller > 0),
    ADD COLUMN cancel_wanted       BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN ruled               BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN deliver_seconds     BIGINT,
    ADD COLUMN review_seconds      BIGINT,
    ADD COLUMN arbitration_seconds BIGINT,
    ADD COLUMN default_outcome     TEXT CHECK (default_outcome IN ('refund_buyer', 'release_seller')),
    ADD COLUMN key                 BYTEA UNIQUE CHECK (length(key) = 32),
    ADD COLUMN fingerprint         BYTEA CHECK (length(fingerprint) = 32);
UPDATE transactions SET
    price = ((terms ->> 'amount')::numeric * 1000000)::bigint,
    content_hash = decode(substr(terms ->> 'content_hash', 3), 'hex');
ALTER TABLE transactions
    ALTER COLUMN price SET NOT NULL,
    ALTER COLUMN content_hash SET NOT NULL,
    ADD CHECK ((method = 'escrow') = (chain_id IS NOT NULL AND escrow IS NOT NULL AND agreement_id IS NOT NULL AND terms IS NOT NULL)),
    ADD CHECK ((method = 'escrow') = (status IS NULL)),
    ADD CHECK (method = 'escrow' OR (initiator_id IS NOT NULL AND deliver_seconds IS NOT NULL AND review_seconds IS NOT NULL
        AND arbitration_seconds IS NOT NULL AND default_outcome IS NOT NULL)),
    ADD CHECK ((step IS NULL) = (step_at IS NULL)),
    ADD CHECK (step IS NULL OR step <> 'settle' OR to_seller IS NOT NULL),
    ADD CHECK ((key IS NULL) = (fingerprint IS NULL));

COMMENT ON TABLE transactions IS
    'Purchases in steps. Through the escrow, where they stand is read from the mirror of the chain and kept nowhere else; the ledger''s have a status, and a hold of their id.';
COMMENT ON COLUMN transactions.buyer IS 'The wallet that funds the agreement, or of the agent that the ledger pays for.';
COMMENT ON COLUMN transactions.initiator_id IS 'The agent that started it, and that the ledger pays for: whoever funds an agreement got its terms from it.';
COMMENT ON COLUMN transactions.chain_id IS 'The chain of the escrow; this and the three after it only of those through the escrow.';
COMMENT ON COLUMN transactions.outcome IS
    'How it ended, as the figures of agents have it: the seller got the money, or the buyer did, or an arbiter gave most of it to the buyer. Of the escrow in a final block; of the ledger only when the buyer got all of it, since the others are sales.';
COMMENT ON COLUMN transactions.method IS 'balance: USDC of the ledger; token: ARD of the ledger; escrow: USDC in the Escrow contract.';
COMMENT ON COLUMN transactions.price IS 'In millionths.';
COMMENT ON COLUMN transactions.content_hash IS 'SHA-256 of what is to be delivered.';
COMMENT ON COLUMN transactions.read_at IS 'When the content was first handed to the buyer.';
COMMENT ON COLUMN transactions.status IS 'Where it stands, of the ledger; null through the escrow.';
COMMENT ON COLUMN transactions.step IS 'What was decided and the ledger is not known to have done: hold the price, settle (pay the seller, give the rest back), void (give all back).';
COMMENT ON COLUMN transactions.step_at IS 'When any instance takes the step over.';
COMMENT ON COLUMN transactions.due_at IS 'When it goes on without anybody.';
COMMENT ON COLUMN transactions.ended_at IS 'When it ended, of the ledger.';
COMMENT ON COLUMN transactions.given_back IS 'What the seller gives back of the price.';
COMMENT ON COLUMN transactions.to_seller IS 'What is paid to the seller before the fee, once that is decided.';
COMMENT ON COLUMN transactions.cancel_wanted IS 'Whether the buyer asks to cancel.';
COMMENT ON COLUMN transactions.ruled IS 'Whether an arbiter gave most of it to the buyer.';
COMMENT ON COLUMN transactions.deliver_seconds IS 'From the payment to the end of the delivery period; this and the three after it as they were agreed on, of the ledger.';
COMMENT ON COLUMN transactions.review_seconds IS 'From the delivery to the end of the review.';
COMMENT ON COLUMN transactions.arbitration_seconds IS 'From the dispute to the end of the arbitration.';
COMMENT ON COLUMN transactions.default_outcome IS 'What happens when the arbiter stays silent.';
COMMENT ON COLUMN transactions.key IS 'SHA-256 of the caller, the path and the idempotency key it was started with.';
COMMENT ON COLUMN transactions.fingerprint IS 'SHA-256 of the request it was started with.';
CREATE INDEX transactions_seller ON transactions (seller_id, id);
CREATE INDEX transactions_initiator ON transactions (initiator_id, id) WHERE initiator_id IS NOT NULL;
CREATE INDEX transactions_buyer ON transactions (buyer, id);
CREATE INDEX transactions_status ON transactions (status, id) WHERE status IS NOT NULL;
CREATE INDEX transactions_step ON transactions (step_at) WHERE step IS NOT NULL;
CREATE INDEX transactions_due ON transactions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX transactions_uncounted ON transactions (id) WHERE status = 'refunded' AND outcome IS NULL;
CREATE INDEX transactions_agreements_open ON transactions (id) WHERE method = 'escrow' AND outcome IS NULL;

CREATE TABLE transaction_changes (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id UUID NOT NULL REFERENCES transactions,
    at             TIMESTAMPTZ NOT NULL DEFAULT now(),
    from_status    TEXT,
    to_status      TEXT NOT NULL,
    actor          TEXT NOT NULL CHECK (actor IN ('buyer', 'seller', 'arbiter', 'market')),
    actor_id       UUID,
    why            TEXT NOT NULL
);
COMMENT ON TABLE transaction_changes IS 'What became of purchases in steps, each row written in one transaction with the change. What the chain does is not here but in its mirror.';
COMMENT ON COLUMN transaction_changes.id IS 'In the order of the changes.';
COMMENT ON COLUMN transaction_changes.transaction_id IS 'Of which.';
COMMENT ON COLUMN transaction_changes.at IS 'When.';
COMMENT ON COLUMN transaction_changes.from_status IS 'Where it stood before; null for the first.';
COMMENT ON COLUMN transaction_changes.to_status IS 'Where it stood from then on; the same when something else changed.';
COMMENT ON COLUMN transaction_changes.actor IS 'Who did it; market: a deadline passed, or the ledger did what was decided.';
COMMENT ON COLUMN transaction_changes.actor_id IS 'The agent or creator who did.';
COMMENT ON COLUMN transaction_changes.why IS 'Why, in words.';
CREATE INDEX transaction_changes_of ON transaction_changes (transaction_id, id);

CREATE TABLE transaction_evidence (
    id             UUID PRIMARY KEY,
    transaction_id UUID NOT NULL REFERENCES transactions,
    party          TEXT NOT NULL CHECK (party IN ('buyer', 'seller')),
    text           TEXT NOT NULL,
    content_hashes BYTEA[] NOT NULL,
    hash           BYTEA NOT NULL CHECK (length(hash) = 32),
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (transaction_id, party, hash)
);
COMMENT ON TABLE transaction_evidence IS 'What the two sides of a purchase say of it. Rows are only added.';
COMMENT ON COLUMN transaction_evidence.id IS 'UUIDv7.';
COMMENT ON COLUMN transaction_evidence.transaction_id IS 'Of which purchase.';
COMMENT ON COLUMN transaction_evidence.party IS 'Who says it.';
COMMENT ON COLUMN transaction_evidence.text IS 'What there is to say.';
COMMENT ON COLUMN transaction_evidence.content_hashes IS 'SHA-256 of what proves it.';
COMMENT ON COLUMN transaction_evidence.hash IS 'SHA-256 of the text, a zero byte and the hashes: what commits to it elsewhere.';
COMMENT ON COLUMN transaction_evidence.created_at IS 'When it was said.';

CREATE TABLE transaction_checks (
    only_row   BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    scanned_to UUID NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    compared   BIGINT NOT NULL DEFAULT 0,
    differing  BIGINT NOT NULL DEFAULT 0,
    checked_at TIMESTAMPTZ NOT NULL DEFAULT 'epoch'
);
COMMENT ON TABLE transaction_checks IS 'What the last comparison of purchases in steps with the ledger and the mirror of the chain found.';
COMMENT ON COLUMN transaction_checks.only_row IS 'There is one.';
COMMENT ON COLUMN transaction_checks.scanned_to IS 'The purchase after which the next slice of all of them begins.';
COMMENT ON COLUMN transaction_checks.compared IS 'Purchases compared.';
COMMENT ON COLUMN transaction_checks.differing IS 'Those that are not what the ledger or the chain says: there must be none.';
COMMENT ON COLUMN transaction_checks.checked_at IS 'When an instance began to look.';
INSERT INTO transaction_checks DEFAULT VALUES;
