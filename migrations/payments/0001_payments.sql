-- The ledger of the sandbox payment gateway. One row an order, whatever comes first: a capture, a refusal, or
-- the tombstone of a void. The first to arrive decides for good; card data is not stored.
create table payments (
    order_id     bigint primary key,
    state        text not null check (state in ('captured', 'declined', 'voided')),
    amount_cents bigint check (amount_cents >= 0),
    created_at   timestamptz not null default now(),
    check (amount_cents is not null or state = 'voided')
);
