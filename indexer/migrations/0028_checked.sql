-- With transfers = 'ours' a wallet's transfers are mirrored from its creation on. What its address got before is fetched when it appears.
CREATE TABLE checked (
    address      BYTEA PRIMARY KEY,
    block_number BIGINT NOT NULL
);
COMMENT ON TABLE checked IS
    'Where not all transfers are mirrored: the wallets and treasuries of which all are, those from before their creation too.';
COMMENT ON COLUMN checked.address IS 'The contract.';
COMMENT ON COLUMN checked.block_number IS 'Block that created it.';
CREATE INDEX checked_block ON checked (block_number);
