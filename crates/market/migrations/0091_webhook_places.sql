-- Whoever answers slowly has not all places, and an event is delivered to a webhook once.

ALTER TABLE webhooks ADD COLUMN slow_at TIMESTAMPTZ;
COMMENT ON COLUMN webhooks.slow_at IS 'When an attempt took longer than a second, the last time.';

DELETE FROM webhook_deliveries AS d USING webhook_deliveries AS later
    WHERE d.seq > 0 AND later.webhook_id = d.webhook_id AND later.seq = d.seq AND later.id > d.id;
DROP INDEX webhook_deliveries_seq;
CREATE UNIQUE INDEX webhook_deliveries_of_event ON webhook_deliveries (seq, webhook_id) WHERE seq > 0;
CREATE INDEX webhook_deliveries_tests ON webhook_deliveries (id) WHERE seq = 0;
COMMENT ON TABLE webhook_deliveries IS
    'What is or was to be posted, once for a webhook and an event: waiting while it is due some time, delivered when it arrived, else given up.';
