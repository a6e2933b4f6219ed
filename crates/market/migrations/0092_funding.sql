-- Where an agent belongs is said by who gave most, not by who gave first; and what a person starts is counted over all agents.

ALTER TABLE fraud_funding ADD COLUMN worth BIGINT NOT NULL DEFAULT 1000000 CHECK (worth >= 0);
ALTER TABLE fraud_funding ALTER COLUMN worth DROP DEFAULT;
COMMENT ON TABLE fraud_funding IS 'Where most of the money leads back to that an agent was given, or brought.';
COMMENT ON COLUMN fraud_funding.root IS
    'The first giver of a chain of them: an agent, or a wallet (the last 16 bytes of its address); the agent itself for what came from its own wallet.';
COMMENT ON COLUMN fraud_funding.worth IS
    'By how much it gave more than others did, in base units of USDC: what others give is taken off, and who gives more than there is takes its place.';

CREATE INDEX agents_person ON agents (person);
