-- People. A user id is sequence * 4096 + slot, so the id says which cluster holds the row.
-- When a slot moves to another cluster, both sequences must first be raised above the ids that move with it.
create sequence user_ids as bigint minvalue 1;

create table accounts (
    user_id       bigint primary key check (user_id > 0),
    email         text not null check (length(email) between 3 and 254),
    name          text not null check (length(name) between 1 and 100),
    password_hash text not null,
    role          text not null default 'customer' check (role in ('customer', 'shopkeeper')),
    -- Photos belong to inventory; only the id lies here.
    photo_id      bigint,
    recipient     text not null default '',
    street        text not null default '',
    postcode      text not null default '',
    city          text not null default '',
    country       text not null default '',
    created_at    timestamptz not null default now()
);

-- Who has an address. Placed by the hash of the e-mail, so this is the one table without user_id first.
-- A claim that is not confirmed expires, and is taken over if no account came of it.
create table emails (
    email         text primary key,
    user_id       bigint not null,
    claimed_until timestamptz not null,
    confirmed_at  timestamptz
);
