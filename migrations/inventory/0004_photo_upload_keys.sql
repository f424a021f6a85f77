-- What an uploader calls an attempt, so that the same upload sent again is the same photo, and a digest of what was sent under it.
-- A key is good for as long as its photo.
alter table photos
    add column upload_key text check (char_length(upload_key) between 1 and 64),
    add column upload_hash bytea check (octet_length(upload_hash) = 32),
    add constraint photos_upload_key_has_hash check ((upload_key is null) = (upload_hash is null));
create unique index photos_upload_key on photos (owner_id, upload_key);
