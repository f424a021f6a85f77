-- One database with its three roles: the owner changes the schema, rw works with the rows, ro reads them.
-- Nothing is left to PUBLIC.
\getenv owner_password OWNER_PASSWORD
\getenv rw_password RW_PASSWORD
\getenv ro_password RO_PASSWORD
\set owner :database _owner
\set rw :database _rw
\set ro :database _ro

create role :"owner" login password :'owner_password';
create role :"rw" login password :'rw_password';
create role :"ro" login password :'ro_password';
alter role :"ro" set default_transaction_read_only = on;
-- Readers ask a replica which timeline it receives, to know what it has seen.
grant pg_read_all_stats to :"ro";

create database :"database" owner :"owner" template template0;
revoke all on database :"database" from public;
grant connect on database :"database" to :"rw", :"ro", monitor;

\connect :"database"
alter schema public owner to :"owner";
revoke all on schema public from public;
grant usage on schema public to :"rw", :"ro";

-- What the owner makes later comes with these privileges.
alter default privileges for role :"owner" in schema public grant select, insert, update, delete on tables to :"rw";
alter default privileges for role :"owner" in schema public grant usage, select on sequences to :"rw";
alter default privileges for role :"owner" in schema public grant select on tables to :"ro";
alter default privileges for role :"owner" revoke execute on functions from public;
alter default privileges for role :"owner" in schema public grant execute on functions to :"rw", :"ro";
