-- What looks like fraud: found beside the buyers' path, in the order of the ledger, and looked at by people.

CREATE TABLE fraud (
    only_row  BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    ledger_to BIGINT NOT NULL
);
COMMENT ON TABLE fraud IS 'How far it was looked. Whoever looks locks it; the others leave it to them.';
COMMENT ON COLUMN fraud.only_row IS 'There is one.';
COMMENT ON COLUMN fraud.ledger_to IS 'The last transfer of the ledger that was looked at.';
INSERT INTO fraud (ledger_to) SELECT last_id FROM ledger;

CREATE TABLE fraud_payers (
    agent_id UUID PRIMARY KEY,
    times    TIMESTAMPTZ[] NOT NULL,
    last_at  TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE fraud_payers IS 'When agents paid last, for a day.';
COMMENT ON COLUMN fraud_payers.agent_id IS 'Who paid.';
COMMENT ON COLUMN fraud_payers.times IS 'When, the last few times, in order.';
COMMENT ON COLUMN fraud_payers.last_at IS 'The last of them.';

CREATE TABLE fraud_pairs (
    payer_id UUID NOT NULL,
    payee_id UUID NOT NULL,
    day      INTEGER NOT NULL,
    sales    BIGINT NOT NULL,
    worth    BIGINT NOT NULL,
    PRIMARY KEY (payer_id, payee_id, day)
);
COMMENT ON TABLE fraud_pairs IS 'Who bought from whom, for eight days.';
COMMENT ON COLUMN fraud_pairs.payer_id IS 'The agent that bought.';
COMMENT ON COLUMN fraud_pairs.payee_id IS 'The agent that sold.';
COMMENT ON COLUMN fraud_pairs.day IS 'Days from 1970, in UTC.';
COMMENT ON COLUMN fraud_pairs.sales IS 'How often.';
COMMENT ON COLUMN fraud_pairs.worth IS 'For how much, in base units of USDC; a thousand ARD count as one USDC.';
CREATE INDEX fraud_pairs_day ON fraud_pairs (day);
CREATE INDEX fraud_pairs_payee ON fraud_pairs (payee_id, day);

CREATE TABLE fraud_funding (
    agent_id UUID PRIMARY KEY,
    root     UUID NOT NULL
);
COMMENT ON TABLE fraud_funding IS 'Where the first money leads back to that somebody gave an agent.';
COMMENT ON COLUMN fraud_funding.agent_id IS 'Which agent.';
COMMENT ON COLUMN fraud_funding.root IS 'The first giver of a chain of them: an agent, or a wallet (the last 16 bytes of its address).';
CREATE INDEX fraud_funding_root ON fraud_funding (root);

CREATE TABLE registrations (
    id      UUID PRIMARY KEY,
    address TEXT NOT NULL,
    at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    judged  BOOLEAN NOT NULL DEFAULT FALSE
);
COMMENT ON TABLE registrations IS 'Who registered from where. Personal: address; rows go after a day.';
COMMENT ON COLUMN registrations.id IS 'The agent or creator.';
COMMENT ON COLUMN registrations.address IS 'The address; of IPv6 its first 64 bits.';
COMMENT ON COLUMN registrations.at IS 'When.';
COMMENT ON COLUMN registrations.judged IS 'Whether it was looked at.';
CREATE INDEX registrations_address ON registrations (address, at);
CREATE INDEX registrations_new ON registrations (at) WHERE NOT judged;

CREATE TABLE fraud_findings (
    id         UUID PRIMARY KEY,
    rule       TEXT NOT NULL,
    subject    UUID NOT NULL,
    action     TEXT NOT NULL CHECK (action IN ('flag', 'hold', 'refuse')),
    agents     UUID[] NOT NULL,
    evidence   TEXT[] NOT NULL,
    hits       BIGINT NOT NULL,
    first_at   TIMESTAMPTZ NOT NULL,
    last_at    TIMESTAMPTZ NOT NULL,
    status     TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'cleared')),
    cleared_at TIMESTAMPTZ,
    CHECK ((status = 'cleared') = (cleared_at IS NOT NULL))
);
COMMENT ON TABLE fraud_findings IS 'What looks like fraud. One of a rule and a subject is open at a time; who cleared one stands in decisions.';
COMMENT ON COLUMN fraud_findings.id IS 'UUIDv7.';
COMMENT ON COLUMN fraud_findings.rule IS 'By which rule.';
COMMENT ON COLUMN fraud_findings.subject IS 'What was found: an agent; for a cluster the root of its money; for a burst 16 bytes of SHA-256 of the address.';
COMMENT ON COLUMN fraud_findings.action IS 'What follows: nothing, withdrawals of the agents wait for approval, or they cannot pay from the ledger either.';
COMMENT ON COLUMN fraud_findings.agents IS 'Whom it is about, at most a thousand.';
COMMENT ON COLUMN fraud_findings.evidence IS 'The first transfers, or registrations, that say so.';
COMMENT ON COLUMN fraud_findings.hits IS 'How many did.';
COMMENT ON COLUMN fraud_findings.first_at IS 'When the first was.';
COMMENT ON COLUMN fraud_findings.last_at IS 'When the last was.';
COMMENT ON COLUMN fraud_findings.status IS 'Whether somebody looked at it and found it harmless.';
COMMENT ON COLUMN fraud_findings.cleared_at IS 'When.';
CREATE UNIQUE INDEX fraud_findings_open ON fraud_findings (rule, subject) WHERE status = 'open';
CREATE INDEX fraud_findings_acting ON fraud_findings (action) WHERE status = 'open' AND action <> 'flag';
