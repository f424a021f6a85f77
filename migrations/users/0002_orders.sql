-- Orders, and what must happen because of them. Everything of an order lies in its user's cluster;
-- an order id is sequence * 4096 + the user's slot.
create sequence order_ids as bigint minvalue 1;

create table orders (
    user_id         bigint not null references accounts (user_id),
    order_id        bigint not null check (order_id > 0 and order_id % 4096 = user_id % 4096),
    idempotency_key text not null check (length(idempotency_key) between 1 and 64),
    request_hash    bytea not null,
    state           text not null default 'pending'
                    check (state in ('pending', 'reserved', 'paid', 'confirmed', 'cancelling', 'cancelled')),
    -- Whoever works on the order holds this number; recovery takes the order over by raising it.
    attempt         integer not null default 1 check (attempt > 0),
    state_since     timestamptz not null default now(),
    -- From then on recovery may take the order over.
    due_at          timestamptz not null,
    reason          text,
    -- For a sold-out order: which prints, and how many were left.
    reason_lines    jsonb,
    total_cents     bigint not null check (total_cents >= 0),
    recipient       text not null,
    street          text not null,
    postcode        text not null,
    city            text not null,
    country         text not null,
    created_at      timestamptz not null default now(),
    primary key (user_id, order_id),
    unique (user_id, idempotency_key),
    -- Inventory and the ledger know an order by its id alone, so the id must never come twice.
    unique (order_id),
    check (reason is not null or state not in ('cancelling', 'cancelled'))
);

create index orders_in_flight on orders (due_at)
    where state in ('pending', 'reserved', 'paid', 'cancelling');

create table order_lines (
    user_id     bigint not null,
    order_id    bigint not null,
    product_id  bigint not null,
    quantity    integer not null check (quantity between 1 and 99),
    price_cents bigint not null check (price_cents >= 0),
    title       text not null,
    artist      text not null,
    photo       jsonb,
    primary key (user_id, order_id, product_id),
    foreign key (user_id, order_id) references orders (user_id, order_id)
);

-- Events that must reach the broker: written with the confirmation, deleted after the broker has confirmed.
create table order_outbox (
    user_id       bigint not null,
    order_id      bigint not null,
    message_id    uuid not null,
    claimed_until timestamptz not null default '-infinity',
    created_at    timestamptz not null default now(),
    primary key (user_id, order_id),
    foreign key (user_id, order_id) references orders (user_id, order_id)
);
create index order_outbox_claims on order_outbox (claimed_until);

-- Carts that must lose what was bought: written with the confirmation, deleted after the cart has been changed.
create table cart_jobs (
    user_id       bigint not null,
    order_id      bigint not null,
    claimed_until timestamptz not null default '-infinity',
    created_at    timestamptz not null default now(),
    primary key (user_id, order_id),
    foreign key (user_id, order_id) references orders (user_id, order_id)
);
create index cart_jobs_claims on cart_jobs (claimed_until);
