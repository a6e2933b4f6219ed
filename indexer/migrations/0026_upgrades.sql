-- What an upgrade needs to know to add to a mirror instead of making it again.

CREATE TABLE watched (
    address      BYTEA PRIMARY KEY,
    filled_to    BIGINT
);
COMMENT ON TABLE watched IS
    'Contracts of the deployment, and of those before it, whose logs are mirrored. What one that was added later had logged is filled in before the mirror goes on.';
COMMENT ON COLUMN watched.address IS 'The contract.';
COMMENT ON COLUMN watched.filled_to IS 'Null: nothing is missing. Otherwise the last block whose logs of it were filled in.';

ALTER TABLE sync ADD COLUMN derivation INTEGER NOT NULL DEFAULT 0;
COMMENT ON COLUMN sync.derivation IS
    'Version of the program''s rules by which state and payments were made of the rows; a writer with others makes them again.';

-- Which orders wait with a nonce that is used up.
CREATE INDEX proposals_nonce ON proposals (treasury, state_bytes(state, 'spender'), (state -> 'content' ->> 'nonce'))
    WHERE until_block IS NULL AND status = 'proposed';
