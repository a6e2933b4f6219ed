-- Who leaves is forgotten; what the ledger has stays, under an id that names nobody any more. What is personal is said here.

ALTER TABLE creators ADD COLUMN deleted_at TIMESTAMPTZ;
COMMENT ON COLUMN creators.deleted_at IS 'When the creator left: nothing personal is here any more.';
COMMENT ON TABLE creators IS
    'People who own agents and get their royalties. Personal: email, display_name, phone, country, payout_method, payout_details and wallet, all of which are erased when the creator leaves.';
COMMENT ON TABLE sessions IS
    'Sign-ins of creators. Access tokens name theirs and end with it. Personal: network and user_agent; rows go when the creator leaves.';
COMMENT ON TABLE agents IS
    'Agents with a proven wallet. Personal may be name, description, capabilities, endpoint and region, which are erased when the creator who claimed the agent leaves.';
COMMENT ON TABLE redemptions IS 'Written in one transaction with the hold of the same id. Personal: details, which are erased when their owner leaves.';
COMMENT ON COLUMN transfers.memo IS 'A note of who asked for it. Personal, not sealed, and erased when its writer leaves.';
COMMENT ON TABLE searches IS
    'What was looked for in seven days, and what was bought within half an hour after by who looked for something. Ids follow the order of commits: whoever appends takes an advisory lock first. Personal: rows go when who asked leaves.';
