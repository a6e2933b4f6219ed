-- A sale counts for the persons who were behind its agents when it was counted. A reversal takes back what was counted, from the same persons,
-- whoever claimed an agent since.

CREATE TABLE former_persons (
    id        BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    agent_id  UUID NOT NULL,
    person    UUID NOT NULL,
    ledger_to BIGINT NOT NULL
);
COMMENT ON TABLE former_persons IS 'Who was behind agents until somebody else was: the figures count older sales for them. Written by a trigger.';
COMMENT ON COLUMN former_persons.id IS 'In the order in which it changed.';
COMMENT ON COLUMN former_persons.agent_id IS 'Behind which agent.';
COMMENT ON COLUMN former_persons.person IS 'As of agents, until then.';
COMMENT ON COLUMN former_persons.ledger_to IS 'As of standing when it changed: the last sale that counts for the former person.';
CREATE INDEX former_persons_agent ON former_persons (agent_id, ledger_to, id);

-- The row of standing is locked, so that nothing is counted between what is read of it and the commit that changes the person.
CREATE FUNCTION keep_former_person() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO former_persons (agent_id, person, ledger_to) SELECT OLD.id, OLD.person, s.ledger_to FROM standing AS s FOR SHARE;
    RETURN NULL;
END
$$;
CREATE TRIGGER former_person AFTER UPDATE OF creator_id, wallet ON agents
    FOR EACH ROW WHEN (OLD.person IS DISTINCT FROM NEW.person) EXECUTE FUNCTION keep_former_person();
