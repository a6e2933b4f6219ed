-- pgbench: one sale per transaction, with the legs and rows that the ledger writes for a sale, and sharded rows for the house, which is the
-- fastest way known without a writer that groups.
\set buyer random(1, 1000)
\set seller random(1001, 1100)
\set shard random(1101, 1116)
\set fire random(1117, 1132)
\set id random(1, 9223372036854775807)
BEGIN;
UPDATE bench.accounts SET balance = balance - 1000, spent = spent + 1000 WHERE id = :buyer AND balance >= 1000;
UPDATE bench.accounts SET balance = balance + 1078, earned = earned + 980 WHERE id = :seller;
UPDATE bench.accounts SET balance = balance + 10 WHERE id = :shard;
UPDATE bench.accounts SET balance = balance + 10 WHERE id = :fire;
INSERT INTO bench.transfers (kind, reference, body, key, fingerprint)
    VALUES (2, gen_random_uuid(), '\x00', decode(lpad(to_hex(:id::bigint), 64, '0'), 'hex'), decode(lpad('', 64, '0'), 'hex')) RETURNING id AS transfer \gset
INSERT INTO bench.entries VALUES (:buyer, :transfer, -1000, 0), (:seller, :transfer, 1078, 0), (:shard, :transfer, 10, 0),
    (:fire, :transfer, 10, 0), (0, :transfer, -98, 0);
INSERT INTO bench.sales VALUES (:transfer, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 2, 1000,
    decode(lpad('', 64, '0'), 'hex'), 10240, 'application/json', now());
COMMIT;
