-- What changes without a new block, and that the writer works on something that takes long.
ALTER TABLE sync ADD COLUMN revision BIGINT NOT NULL DEFAULT 0, ADD COLUMN upgrading_at TIMESTAMPTZ;
COMMENT ON COLUMN sync.revision IS
    'Grows when rows of blocks that are already mirrored change: made again after an upgrade, filled in, or fetched of a wallet''s time before its creation.';
COMMENT ON COLUMN sync.upgrading_at IS 'When the writer last got on with an upgrade, before which no block is added.';

COMMENT ON TABLE services IS
    'Services by registry and id: owner, parties, offer, stake and what payers said. Stake and volume are base units.';
