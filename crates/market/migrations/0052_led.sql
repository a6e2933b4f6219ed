-- Of purchases the log has those alone that a search may have led to.

COMMENT ON TABLE searches IS
    'What was looked for in seven days, and what was bought within half an hour after by who looked for something. Ids follow the order of commits: whoever appends takes an advisory lock first.';
