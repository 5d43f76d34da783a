-- The image runs this once, when its volume is empty: a role that owns the database `menshen` and can do nothing else.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/database.password`
-- A file that cannot be read would be no password, and this script does not run again.
SELECT 1 / sign(length(:'password')) AS password_was_read;
CREATE ROLE menshen LOGIN PASSWORD :'password';
ALTER DATABASE menshen OWNER TO menshen;
