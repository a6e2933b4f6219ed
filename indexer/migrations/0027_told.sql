-- Some chains' blocks cannot be proved by what their nodes answer; with --trust-node they are mirrored all the same, and say so. No row is read.
ALTER TABLE blocks DROP CONSTRAINT blocks_proof_check;
ALTER TABLE blocks ADD CONSTRAINT blocks_proof_check CHECK (proof IN ('b', 'r', 't')) NOT VALID;
COMMENT ON COLUMN blocks.proof IS
    'Why nothing is missing. b: the bloom of the proved header excludes everything mirrored; r: the receipts were proved by the receipts root. t: nothing was proved, the node was trusted (--trust-node).';
