-- The trace that a message belongs to, as W3C has it, so that an upload and its processing are one trace.
alter table photo_outbox add column traceparent text check (octet_length(traceparent) <= 100);
