-- Which of several is chosen: where agents are, and whose turn it is.

ALTER TABLE agents ADD COLUMN region TEXT CHECK (region IN ('north_america_east', 'north_america_west', 'south_america', 'europe', 'africa',
    'asia_west', 'asia_east', 'oceania'));
COMMENT ON COLUMN agents.region IS 'Where it is, as it says itself.';

CREATE TABLE turns (
    person  UUID NOT NULL,
    what    TEXT NOT NULL,
    subject UUID NOT NULL,
    at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (person, what, subject)
);
COMMENT ON TABLE turns IS 'What was chosen in turn, for each who asks: nobody uses up the turns of another. For seven days.';
COMMENT ON COLUMN turns.person IS 'Who is behind the agent that asked.';
COMMENT ON COLUMN turns.what IS 'The capability that agents were chosen for; empty for listings.';
COMMENT ON COLUMN turns.subject IS 'The agent or listing that was chosen.';
COMMENT ON COLUMN turns.at IS 'When it was chosen last.';
CREATE INDEX turns_newest ON turns (person, what, at);
CREATE INDEX turns_old ON turns (at);
