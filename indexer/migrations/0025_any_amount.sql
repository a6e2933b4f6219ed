-- A contract that calls itself a token says any amount it likes, and a sum of such is larger than each: no block may fail by it.

ALTER TABLE payment_hours ALTER COLUMN amount TYPE NUMERIC;
